package internet

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// BenchmarkTCP measures what the way out costs: TCP from the cell to the outside, and for
// comparison from the node, which has a veth pair to the outside. Both directions.
func BenchmarkTCP(b *testing.B) {
	s := newSite(b)
	connectCell(b, s.node, s.cell, keeperConfig{})
	at := public + ":4712"
	var l net.Listener
	testkit.Must(b, s.outside.do(func() (err error) {
		l, err = net.Listen("tcp4", at)
		return err
	}))
	defer l.Close()
	const chunk = 1 << 20
	// The first byte says who sends, and then how much in megabytes.
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var head [5]byte
				if _, err := io.ReadFull(c, head[:]); err != nil {
					return
				}
				if head[0] == 'u' {
					io.Copy(io.Discard, c)
					return
				}
				data := make([]byte, chunk)
				for range int(head[1])<<24 | int(head[2])<<16 | int(head[3])<<8 | int(head[4]) {
					if _, err := c.Write(data); err != nil {
						return
					}
				}
			}()
		}
	}()
	for _, from := range []struct {
		name  string
		space *space
	}{{"cell", s.cell}, {"veth", s.node}} {
		for _, direction := range []string{"up", "down"} {
			b.Run(fmt.Sprintf("from=%s/%s", from.name, direction), func(b *testing.B) {
				var c net.Conn
				testkit.Must(b, from.space.do(func() (err error) {
					c, err = net.DialTimeout("tcp4", at, 10*time.Second)
					return err
				}))
				defer c.Close()
				b.SetBytes(chunk)
				b.ResetTimer()
				_, err := c.Write([]byte{direction[0], byte(b.N >> 24), byte(b.N >> 16), byte(b.N >> 8), byte(b.N)})
				testkit.Must(b, err)
				if direction == "down" {
					if n, err := io.Copy(io.Discard, c); err != nil || n != int64(b.N)*chunk {
						b.Fatalf("%d bytes, %v", n, err)
					}
					return
				}
				data := make([]byte, chunk)
				for range b.N {
					_, err := c.Write(data)
					testkit.Must(b, err)
				}
				testkit.Must(b, c.(*net.TCPConn).CloseWrite())
				io.Copy(io.Discard, c) // until all has arrived
			})
		}
	}
}

// BenchmarkStart measures what the way out adds to the start of a seat. ns/op is that of
// the test; start-ms counts.
func BenchmarkStart(b *testing.B) {
	s := newSite(b)
	var took int64
	for range b.N {
		r := connectCell(b, s.node, newSpace(b), keeperConfig{})
		took += r.took
		r.input.Close()
		<-r.exited
	}
	b.ReportMetric(float64(took)/1000/float64(b.N), "start-ms")
}
