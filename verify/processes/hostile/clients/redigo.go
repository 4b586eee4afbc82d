// What a program on redigo sees: `redigo PORT RING`.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/gomodule/redigo/redis"
)

func main() {
	connection, err := redis.Dial("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ring := os.Args[2]
	id := func(reply interface{}, err error) string {
		text, err := redis.String(reply, err)
		if err != nil {
			return "refused"
		}
		return strings.SplitAfter(text, "-")[1]
	}
	number := func(reply interface{}, err error) string {
		count, err := redis.Int(reply, err)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(count)
	}
	all := make([]byte, 256)
	for index := range all {
		all[index] = byte(index)
	}
	seen := []string{
		id(connection.Do("XADD", ring, "*", "data", "one")),
		id(connection.Do("XADD", ring, "*", "data", all, "type", 7)),
		number(connection.Do("RPUSH", ring, "a", "b", "c")),
		number(connection.Do("PUBLISH", ring, "pub")),
	}
	for n := 0; n < 100; n++ {
		connection.Send("XADD", ring, "*", "data", fmt.Sprintf("p%d", n))
	}
	connection.Flush()
	ids := 0
	for n := 0; n < 100; n++ {
		if id(connection.Receive()) != "refused" {
			ids++
		}
	}
	seen = append(seen, fmt.Sprint(ids), id(connection.Do("XADD", ring, "*", "data", make([]byte, 2000))))
	seen = append(seen, number(connection.Do("XLEN", ring)))
	connection.Close()
	fmt.Println(strings.Join(seen, " "))
}
