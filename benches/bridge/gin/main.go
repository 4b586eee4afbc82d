// The classical design: Gin in front, records in shared memory, a C reader on a semaphore.
//
// Run: server NAME; it makes the shared memory NAME, prints http=ADDR:PORT and serves until it is
// killed. POST /records answers 202 with the number of the record.
package main

// #cgo LDFLAGS: -lpthread -lrt
// #include <stdlib.h>
// #include "medium.h"
import "C"

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"unsafe"

	"github.com/gin-gonic/gin"
)

const slotBytes = C.SLOT_BYTES

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: server NAME")
	}
	name := C.CString(os.Args[1])
	defer C.free(unsafe.Pointer(name))
	medium := C.medium_open(name, 1)
	if medium == nil {
		log.Fatal("no shared memory")
	}
	var turn sync.Mutex
	buffers := sync.Pool{New: func() any { buffer := make([]byte, slotBytes); return &buffer }}
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.POST("/records", func(c *gin.Context) {
		if c.Request.ContentLength < 1 || c.Request.ContentLength > slotBytes {
			c.Status(http.StatusRequestEntityTooLarge)
			return
		}
		buffer := buffers.Get().(*[]byte)
		defer buffers.Put(buffer)
		body := (*buffer)[:c.Request.ContentLength]
		if _, err := io.ReadFull(c.Request.Body, body); err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		turn.Lock()
		number := C.medium_put(medium, unsafe.Pointer(&body[0]), C.uint32_t(len(body)))
		turn.Unlock()
		if number < 0 {
			c.Status(http.StatusServiceUnavailable)
			return
		}
		c.JSON(http.StatusAccepted, gin.H{"seq": int64(number)})
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http=%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, router))
}
