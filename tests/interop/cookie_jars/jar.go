// See __init__.py: what net/http/cookiejar makes of each line's field, as http.Client uses it.
package main

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
)

func main() {
	origin := &url.URL{Scheme: "https", Host: os.Args[1], Path: "/"}
	lines := bufio.NewScanner(os.Stdin)
	for number := 0; lines.Scan(); number++ {
		jar, _ := cookiejar.New(nil)
		name, value, _ := strings.Cut(lines.Text(), ": ")
		answer := http.Response{Header: http.Header{}}
		answer.Header.Add(name, value)
		jar.SetCookies(origin, answer.Cookies())
		for _, neighbour := range os.Args[2:] {
			if len(jar.Cookies(&url.URL{Scheme: "https", Host: neighbour, Path: "/"})) > 0 {
				fmt.Println(number)
				break
			}
		}
	}
}
