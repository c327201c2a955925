package registrar

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/nearcast/nearcast/internal/wire"
)

// Task is what the driver knows of a seat.
type Task struct {
	ID, App, Job, Node string // as in wire.Seat
	Version            uint64
	Socket             string // path of the control socket
	Host               string // the address at which the node's seats serve their API
}

const (
	// maxLine bounds one record of a stream host.
	maxLine = 16 << 10
	// A seat changes about ten times in its life, and tells its progress three times a
	// second. Faster changes wait, and with them the stream host.
	perSecond, atOnce = 10, 30

	askEvery   = time.Second // of a stream host of an earlier release
	askWithin  = 5 * time.Second
	firstPause = 50 * time.Millisecond
	mostPause  = time.Second
)

// errNoStream is the answer of a stream host of an earlier release.
var errNoStream = errors.New("it does not stream its seat")

// Follow keeps a task's seat in the feed until ctx ends. The seat is not in the feed while
// its stream host is silent.
func (r *Registrar) Follow(ctx context.Context, t Task) {
	f := &follower{registrar: r, task: t, limit: rate.NewLimiter(perSecond, atOnce), client: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", t.Socket)
		},
		MaxIdleConns: 1,
	}}}
	defer f.client.CloseIdleConnections()
	defer r.drop(t.ID)
	for pause := firstPause; ctx.Err() == nil; {
		began := time.Now()
		err := f.stream(ctx)
		if errors.Is(err, errNoStream) {
			err = f.poll(ctx)
		}
		r.drop(t.ID)
		if ctx.Err() == nil && err != nil {
			r.log.Debug("retrying to follow a seat", "seat", t.ID, "error", err)
		}
		if time.Since(began) > mostPause {
			pause = firstPause
		}
		wait(ctx, pause)
		pause = min(2*pause, mostPause)
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

type follower struct {
	registrar *Registrar
	task      Task
	client    *http.Client
	limit     *rate.Limiter
	refused   string // why, as logged last
}

func (f *follower) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://seat"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the stream host: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		if res.StatusCode == http.StatusNotFound {
			return nil, errNoStream
		}
		return nil, fmt.Errorf("ask the stream host: it answers %s", res.Status)
	}
	return res, nil
}

// stream reads what the stream host says, until it ends.
func (f *follower) stream(ctx context.Context) error {
	res, err := f.get(ctx, wire.SeatPath)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if err := f.limit.Wait(ctx); err != nil {
			return err
		}
		var said wire.Seat
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
			return fmt.Errorf("decode what the stream host says: %w", err)
		}
		f.take(said)
	}
	return lines.Err()
}

// poll asks a stream host for its status, which all releases have.
func (f *follower) poll(ctx context.Context) error {
	for ctx.Err() == nil {
		var status wire.StreamHostStatus
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, askWithin)
			defer cancel()
			res, err := f.get(ctx, wire.StatusPath)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			return json.NewDecoder(io.LimitReader(res.Body, maxLine)).Decode(&status)
		}()
		if err != nil {
			return err
		}
		if status.Seat.ID != "" { // it has started
			f.take(status.Seat)
		}
		wait(ctx, askEvery)
	}
	return nil
}

// take puts what a stream host says into the feed, if it may say that.
func (f *follower) take(said wire.Seat) {
	seat, err := checked(f.task, said, time.Now())
	if err == nil {
		err = f.registrar.put(seat)
	}
	if err == nil {
		f.refused = ""
		return
	}
	f.registrar.drop(f.task.ID)
	if f.refused != err.Error() {
		f.refused = err.Error()
		f.registrar.log.Error("a stream host says what it may not, so brains are not told of its seat", "seat", f.task.ID, "app", f.task.App, "error", err)
	}
}

// put makes a seat what it is now. A seat's address and key are its own.
func (r *Registrar) put(seat wire.Seat) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, other := range r.last {
		if id != seat.ID && (other.Key == seat.Key || other.Address == seat.Address) {
			return fmt.Errorf("it has the key or address of the seat %s", id)
		}
	}
	seat.Load = r.load.told
	was, known := r.last[seat.ID]
	r.last[seat.ID] = seat
	if known && wire.OnlyMeasured(was, seat) {
		r.untold[seat.ID] = seat
		return nil
	}
	delete(r.untold, seat.ID)
	r.seats.Set(seat.ID, seat)
	return nil
}

// tellMeasured has the feed tell, at once for all seats, what was measured since the last call.
func (r *Registrar) tellMeasured() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seats.SetBrief(r.untold, wire.Seat.Brief)
	clear(r.untold)
}

func (r *Registrar) drop(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, id)
	delete(r.untold, id)
	r.seats.Delete(id)
}
