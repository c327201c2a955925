package seat

import (
	"encoding/json"
	"net/http"
	"sync"

	"github.com/nearcast/nearcast/internal/wire"
)

// record is the seat's record as the driver follows it. Who follows sees the last one, and
// not each that there was.
type record struct {
	mu     sync.Mutex
	seat   wire.Seat
	known  bool
	closed bool
	more   chan struct{} // closed at the next change
}

func newRecord() *record { return &record{more: make(chan struct{})} }

func (r *record) set(seat wire.Seat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.seat, r.known = seat, true
		close(r.more)
		r.more = make(chan struct{})
	}
}

// close ends what the driver follows: the seat is gone.
func (r *record) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		close(r.more)
	}
}

func (r *record) get() (seat wire.Seat, known, closed bool, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seat, r.known, r.closed, r.more
}

// serveSeat writes the seat's record, and again at each change, until the seat is gone.
func (h *streamHost) serveSeat(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	out := json.NewEncoder(w)
	for {
		seat, known, closed, more := h.record.get()
		if closed || known && out.Encode(seat) != nil || flush.Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}
