// Go's net/http: reads `SCENARIO URL` lines and answers each with what the client saw.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Longer than the listener keeps an idle connection.
const idle = 2 * time.Second

var client = &http.Client{
	Timeout:   10 * time.Second,
	Transport: &http.Transport{ExpectContinueTimeout: 5 * time.Second},
}

func send(request *http.Request) string {
	response, err := client.Do(request)
	if err != nil {
		return strings.ReplaceAll(err.Error(), " ", "_")
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return strings.ReplaceAll(err.Error(), " ", "_")
	}
	return fmt.Sprint(response.StatusCode)
}

func make(url string, body io.Reader) *http.Request {
	request, err := http.NewRequest("POST", url, body)
	if err != nil {
		panic(err)
	}
	return request
}

func post(url string, body []byte) string { return send(make(url, bytes.NewReader(body))) }

func expect(url string, body []byte) string {
	request := make(url, bytes.NewReader(body))
	request.Header.Set("Expect", "100-continue")
	return send(request)
}

func chunked(url string) string {
	reader, writer := io.Pipe()
	go func() {
		for _, piece := range []string{"ab", "cd", "ef"} {
			writer.Write([]byte(piece))
			time.Sleep(5 * time.Millisecond)
		}
		writer.Close()
	}()
	return send(make(url, reader))
}

func abort(url string) string {
	reader, writer := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		writer.Write(bytes.Repeat([]byte("x"), 1000))
		time.Sleep(50 * time.Millisecond)
		cancel()
		// Its Do waits for the body's next bytes, even then.
		writer.CloseWithError(context.Canceled)
	}()
	first := "answered"
	if _, err := client.Do(make(url, reader).WithContext(ctx)); err != nil && ctx.Err() != nil {
		first = "aborted"
	}
	return first + " " + post(url, []byte("after"))
}

func reuse(url string) string {
	first := post(url, []byte("r1")) + " " + post(url, []byte("r2"))
	time.Sleep(idle)
	return first + " " + post(url, []byte("r3"))
}

func parallel(url string) string {
	var wait sync.WaitGroup
	seen := [8]string{}
	for i := range seen {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			seen[i] = post(url, []byte("p"))
		}(i)
	}
	wait.Wait()
	return strings.Join(seen[:], " ")
}

func main() {
	tooLarge := bytes.Repeat([]byte("l"), 1<<20+1)
	scenarios := map[string]func(string) string{
		"small":          func(url string) string { return post(url, []byte("small")) },
		"mebibyte":       func(url string) string { return post(url, bytes.Repeat([]byte("m"), 1<<20)) },
		"too_large":      func(url string) string { return post(url, tooLarge) },
		"chunked":        chunked,
		"expect":         func(url string) string { return expect(url, bytes.Repeat([]byte("e"), 100000)) },
		"expect_refused": func(url string) string { return expect(url, tooLarge) },
		"reuse":          reuse,
		"abort":          abort,
		"parallel":       parallel,
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		name, url, _ := strings.Cut(lines.Text(), " ")
		said := map[string]interface{}{"missing": true}
		if scenario, ok := scenarios[name]; ok {
			said = map[string]interface{}{"seen": scenario(url)}
		}
		text, _ := json.Marshal(said)
		fmt.Println(string(text))
	}
}
