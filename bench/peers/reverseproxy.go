// The proxy most Go programmers would write: httputil.ReverseProxy with its documented knobs turned the right way.
// It routes <port>-<id>.<domain> to [::1]:<port>. Easier than the gateway's job: no directory, no limits, no log.
package main

import (
	"crypto/tls"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// buffers lets the proxy reuse its copy buffers, as httputil.BufferPool is there for.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte       { return *b.pool.Get().(*[]byte) }
func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }

// byContent sends gRPC as HTTP/2 with prior knowledge, and everything else as HTTP/1.1.
type byContent struct{ plain, grpc http.RoundTripper }

func (b *byContent) RoundTrip(request *http.Request) (*http.Response, error) {
	if strings.HasPrefix(request.Header.Get("Content-Type"), "application/grpc") {
		return b.grpc.RoundTrip(request)
	}
	return b.plain.RoundTrip(request)
}

func main() {
	listenTLS := flag.String("tls", "", "address of the TLS listener")
	listenPlain := flag.String("plain", "", "address of the plain listener")
	cert := flag.String("cert", "", "certificate chain, PEM")
	key := flag.String("key", "", "private key, PEM")
	asShipped := flag.Bool("as-shipped", false, "leave http.DefaultTransport and no buffer pool, as most programs do")
	flag.Parse()

	proxy := &httputil.ReverseProxy{
		Director: func(request *http.Request) {
			port, _, _ := strings.Cut(request.Host, "-")
			request.URL.Scheme = "http"
			request.URL.Host = net.JoinHostPort("::1", port)
		},
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 256,
			IdleConnTimeout:     60 * time.Second,
			DisableCompression:  true,
		},
		BufferPool: &buffers{sync.Pool{New: func() any { b := make([]byte, 32*1024); return &b }}},
		ErrorLog:   log.New(io.Discard, "", 0),
	}
	if *asShipped {
		proxy.Transport, proxy.BufferPool = http.DefaultTransport, nil // two idle connections per host: under load it dials all the time
	}
	proxy.Transport = &byContent{proxy.Transport, &http2.Transport{
		AllowHTTP: true,
		DialTLS: func(network, address string, _ *tls.Config) (net.Conn, error) {
			return net.DialTimeout(network, address, 3*time.Second)
		},
		DisableCompression: true,
	}}
	server := func(address string) *http.Server {
		return &http.Server{
			Addr:        address,
			Handler:     proxy,
			IdleTimeout: 75 * time.Second,
			TLSConfig:   &tls.Config{MinVersion: tls.VersionTLS13},
			ErrorLog:    log.New(io.Discard, "", 0),
		}
	}
	go func() { log.Fatal(server(*listenPlain).ListenAndServe()) }()
	log.Fatal(server(*listenTLS).ListenAndServeTLS(*cert, *key))
}
