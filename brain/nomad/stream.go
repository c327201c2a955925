package nomad

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
)

// batch is one message of the event stream: what was changed at one index, or a part
// of it. A heartbeat has no events, and index 0.
type batch struct {
	Index  uint64
	Events []event
}

type event struct {
	Type    string
	Index   uint64
	Payload struct {
		Job        *job
		Allocation *alloc
		Evaluation *evaluation
	}
}

func (e event) deregistered() bool { return strings.Contains(e.Type, "Deregistered") }

const (
	// held is how many bytes of messages may wait to be decoded. Nomad drops a reader
	// that is slow, so they wait here.
	held         = 32 << 20
	heldMessages = 8192
)

var errBehind = errors.New("too many events wait to be read")

// stream is an open event stream. A goroutine reads it, and does nothing else.
type stream struct {
	lines chan []byte // closed at the end, after err was set
	held  atomic.Int64
	err   error
	body  io.ReadCloser
	ended chan struct{}
}

// newest is an index beyond all events. The stream begins with the next event then,
// and not with all that Nomad remembers.
const newest = 1<<63 - 1

// open opens the event stream. Events begin at index if Nomad still has that one.
// Else they begin anywhere, and Nomad does not say so.
func (c *Client) open(ctx context.Context, index uint64) (*stream, error) {
	q := query(ctx)
	q.Params = map[string]string{"index": strconv.FormatUint(index, 10)}
	body, err := c.api.Raw().Response("/v1/event/stream?topic=Job&topic=Allocation&topic=Evaluation", q)
	if err != nil {
		return nil, fmt.Errorf("open event stream: %w", err)
	}
	s := &stream{lines: make(chan []byte, heldMessages), body: body, ended: make(chan struct{})}
	go s.read()
	return s, nil
}

func (s *stream) read() {
	defer close(s.ended)
	defer close(s.lines)
	for r := bufio.NewReaderSize(s.body, 64<<10); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			s.err = fmt.Errorf("read event stream: %w", err)
			return
		}
		if s.held.Add(int64(len(line))) > held {
			s.err = errBehind
			return
		}
		select {
		case s.lines <- line:
		default:
			s.err = errBehind
			return
		}
	}
}

// decode reads a message that came from lines.
func (s *stream) decode(line []byte) (b batch, err error) {
	s.held.Add(-int64(len(line)))
	if err := json.Unmarshal(line, &b); err != nil {
		return b, fmt.Errorf("decode events: %w", err)
	}
	return b, nil
}

// close ends the stream and waits until its reader has ended.
func (s *stream) close() {
	s.body.Close()
	<-s.ended
}
