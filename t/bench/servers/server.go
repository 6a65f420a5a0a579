// net/http with redigo: a JSON string of the query goes to the list, then 200.
// server PORT TLS_PORT REDIS_PORT CERT KEY

package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/gomodule/redigo/redis"
)

func main() {
	pool := &redis.Pool{
		MaxIdle: 64,
		Dial: func() (redis.Conn, error) {
			return redis.Dial("tcp", "127.0.0.1:"+os.Args[3])
		},
	}

	http.HandleFunc("/voc", func(w http.ResponseWriter, r *http.Request) {
		event := map[string]string{"received": time.Now().UTC().Format(time.RFC3339Nano)}
		for name, values := range r.URL.Query() {
			event[name] = values[0]
		}
		line, _ := json.Marshal(event)

		connection := pool.Get()
		defer connection.Close()
		if _, err := connection.Do("RPUSH", "voc:go", line); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"status":"accepted"}`))
	})

	go func() { log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil)) }()
	log.Fatal(http.ListenAndServeTLS("127.0.0.1:"+os.Args[2], os.Args[4], os.Args[5], nil))
}
