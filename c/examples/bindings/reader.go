// Go, by cgo. Build: CGO_CFLAGS=-I../../include CGO_LDFLAGS="-L../../build -laqueduct" go build reader.go
// Run: ./reader SOCKET RING SUBSCRIPTION
// Expect: a line per record (sequence number, type, payload), then: the ring was closed
package main

// #include <aqueduct/client.h>
import "C"

import (
	"fmt"
	"log"
	"os"
	"unsafe"
)

func main() {
	status, client := C.aqd_status(C.AQD_OK), (*C.aqd_client)(nil)
	say := func() string { return C.GoString(C.aqd_strerror(status)) }
	status = C.aqd_open(C.CString(os.Args[1]), C.CString(os.Args[2]), C.CString(os.Args[3]), 5000, &client)
	defer C.aqd_close(client)
	if status != C.AQD_OK {
		log.Fatalf("%s: %s", say(), C.GoString(C.aqd_message(client)))
	}
	buffer, record := make([]byte, C.aqd_max_payload(client)+1), C.aqd_record{}
	for unreleased := 0; C.aqd_is_end(status) == 0; {
		wait := C.int(500) // a call into C holds a thread: so long at a time
		if unreleased > 0 {
			wait = 0
		}
		status = C.aqd_next_wait(client, unsafe.Pointer(&buffer[0]), C.size_t(len(buffer)), &record, wait)
		if status == C.AQD_OK {
			fmt.Println(record.seq, record.type_tag, string(buffer[:record.len]))
			unreleased++
		} else if C.aqd_is_damage(status) != 0 {
			fmt.Println(say())
		}
		if unreleased == 64 || (unreleased > 0 && status != C.AQD_OK) {
			C.aqd_release(client)
			unreleased = 0
		}
	}
	fmt.Println(say())
}
