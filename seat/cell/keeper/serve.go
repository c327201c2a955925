package keeper

import (
	"fmt"
	"io"
	"os"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
)

// serve carries out the requests of the stream host until it ends. Each of them counts
// once, but for the keys, which an operator may change while the seat is idle: a stream
// host that was taken over must not use up the node.
func (k *keeper) serve(makeCell bool) {
	requests := make(chan cell.Request)
	go k.receive(requests)
	fetched, given, reported := false, false, false
	var next *cell.Request // was made while another was carried out
	for {
		r, ok := take(&next, requests)
		if !ok {
			return
		}
		answer := cell.Notice{Answer: r.Op}
		var pass []*os.File
		switch {
		case r.Op == cell.RequestContent && !fetched:
			fetched = true
			var err error
			if next, err = k.fetch(requests); err == nil {
				err = k.openTask()
			}
			if err != nil {
				e := end(wire.CodeContentStore, err)
				answer.Failed = &e
			}
		case r.Op == cell.RequestCancel:
			continue // the fetch has ended already
		case r.Op == cell.RequestCell && !given:
			given = true
			if makeCell {
				k.makeCell()
			}
			made := <-k.made
			if made.err != nil {
				e := end(wire.CodeConfig, made.err)
				answer.Failed = &e
				break
			}
			answer.Cell = &made.Made
			pass = append([]*os.File{made.conn, made.stdout, made.stderr}, made.gamepads...)
		case r.Op == cell.RequestReport && !reported && r.Exit != nil:
			reported = true
			r.Exit.Nonce = k.spec.Nonce
			if err := writeExit(k.spec.RunDir, *r.Exit); err != nil {
				k.log.Error("report the end", "error", err)
				e := end(wire.CodeConfig, err)
				answer.Failed = &e
			}
		case r.Op == cell.RequestKeys:
			keys, err := k.ticketKeys()
			if err != nil {
				e := end(wire.CodeConfig, err)
				answer.Failed = &e
				break
			}
			pass = []*os.File{keys}
		default:
			e := end(wire.CodeConfig, failed(wire.CodeConfig, "the request %q is unknown, or was made before", r.Op))
			answer.Failed = &e
		}
		err := k.conn.Send(answer, pass...)
		for _, f := range pass {
			f.Close()
		}
		if err != nil {
			for range requests { // until the stream host ends
			}
			return
		}
	}
}

// take takes the request that was made meanwhile, or waits for one.
func take(next **cell.Request, requests <-chan cell.Request) (cell.Request, bool) {
	if r := *next; r != nil {
		*next = nil
		return *r, true
	}
	r, ok := <-requests
	return r, ok
}

// receive passes the requests of the stream host on, until it ends.
func (k *keeper) receive(requests chan<- cell.Request) {
	defer close(requests)
	for {
		var r cell.Request
		files, err := k.conn.Receive(&r)
		for _, f := range files {
			f.Close()
		}
		if err != nil {
			return
		}
		requests <- r
	}
}

// maxKeys is far more than a file of public keys has.
const maxKeys = 1 << 20

// ticketKeys are the routers' public keys, in a memory file: the node's file may be one
// that only root reads.
func (k *keeper) ticketKeys() (*os.File, error) {
	f, err := os.Open(k.spec.TicketKeys)
	if err != nil {
		return nil, fmt.Errorf("read ticket keys: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeys))
	if err != nil {
		return nil, fmt.Errorf("read ticket keys: %w", err)
	}
	return cell.MemoryFile("keys", b)
}
