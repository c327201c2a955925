package brain

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
)

// A person's socket says little while they wait, and there are thousands. net/http's buffers
// would be a fifth of what each takes.
const (
	personReads  = 1 << 10
	personWrites = 512
)

// smallBuffers is a ResponseWriter whose hijacked connection has small buffers.
type smallBuffers struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (s smallBuffers) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, was, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	reader := bufio.NewReaderSize(conn, personReads)
	// What came with the request is in the reader's buffer, as it was in net/http's.
	if n := was.Reader.Buffered(); n > 0 {
		early, _ := was.Reader.Peek(n)
		reader = bufio.NewReaderSize(bytes.NewReader(bytes.Clone(early)), max(n, personReads))
		if _, err := reader.Peek(n); err != nil {
			conn.Close()
			return nil, nil, fmt.Errorf("keep what came with the request: %w", err)
		}
	}
	return conn, bufio.NewReadWriter(reader, bufio.NewWriterSize(conn, personWrites)), nil
}
