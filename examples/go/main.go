// Command hello is net/http on port 8080. "::" is every address, IPv6 first: what a gateway that dials over
// IPv6 can reach.
package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "Hello from Go")
	})
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		io.Copy(w, r.Body)
	})

	address := net.JoinHostPort(env("HOST", "::"), env("PORT", "8080"))
	log.Printf("net/http listens on %s", address)
	log.Fatal(http.ListenAndServe(address, nil))
}

func env(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}
