package brain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/nearcast/nearcast/internal/still"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// stillsAtOnce bounds the stills that are fetched and decoded at once: 300 KB and some
	// milliseconds each.
	stillsAtOnce = 4
	// stillWithin bounds a still: the seat's time for it, and the way.
	stillWithin = wire.StillWithin + time.Second
	// maxStillRequest bounds a question in bytes.
	maxStillRequest = 4 << 10
)

// postStill serves wire.StillPath, for routers. What the seat sends is no picture until it was decoded
// here.
func (b *Broker) postStill(rw http.ResponseWriter, r *http.Request) {
	var req wire.StillRequest
	d := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxStillRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil || req.Session != r.PathValue("id") {
		writeProblem(rw, wire.Problem{Type: wire.ProblemMalformed, Title: "Malformed body", Status: http.StatusBadRequest, Detail: "Send the session of the path, and a role."})
		return
	}
	_, w, seat, ok := b.lookup(rw, r)
	if !ok {
		return
	}
	if w != nil {
		writeProblem(rw, noStill("The person waits for a seat, and sees no picture yet."))
		return
	}
	select {
	case b.stills <- struct{}{}:
		defer func() { <-b.stills }()
	default:
		writeProblem(rw, tooMuch("Other stills are being made. Try again in a moment."))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), stillWithin)
	defer cancel()
	picture, err := b.seats.still(ctx, seat, req)
	var p wire.Problem
	switch {
	case errors.As(err, &p):
		writeProblem(rw, p)
	case err != nil:
		b.log.Warn("no still of a session", "session", req.Session, "seat", seat.ID, "error", err)
		writeProblem(rw, noStill("The seat does not answer as it should. The brain's log says why."))
	default:
		b.log.Info("somebody looks at a still", "session", req.Session, "role", req.Role)
		rw.Header().Set("Content-Type", "application/json")
		json.NewEncoder(rw).Encode(picture)
	}
}

func noStill(detail string) wire.Problem {
	return wire.Problem{Type: wire.ProblemNoStill, Title: "There is no picture to look at", Status: http.StatusConflict, Detail: detail}
}

// still asks a seat for a still. Its error is a wire.Problem where the seat refused, in our words: the
// seat may be hostile.
func (c *seatClient) still(ctx context.Context, seat wire.Seat, ask wire.StillRequest) (out wire.Still, err error) {
	body, err := json.Marshal(ask)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+seat.Address+wire.SeatStillPath, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", "application/json")
	conn := c.dial(ctx, seat)
	defer conn.drop()
	client := over(conn)
	client.Timeout = 0 // ctx has it
	resp, err := client.Do(req)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusForbidden:
		return out, wire.Problem{Type: wire.ProblemForbidden, Title: "The app's job does not allow it", Status: http.StatusForbidden, Detail: "Its option stills says who may look at the picture."}
	case http.StatusConflict:
		return out, noStill("The person's page is not connected now, or no picture came in time. Try again in a moment.")
	case http.StatusGone:
		return out, noSession("The session has ended.")
	case http.StatusTooManyRequests:
		return out, tooMuch("A seat makes a still each " + wire.StillEvery.String() + ". Try again in a moment.")
	case http.StatusNotFound:
		return out, noStill("The seat is of an earlier release, which makes none.")
	default:
		return out, fmt.Errorf("the seat answered %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxStillBody+1))
	if err != nil {
		return out, fmt.Errorf("read a still: %w", err)
	}
	if len(text) > wire.MaxStillBody {
		return out, fmt.Errorf("a still of more than %d bytes", wire.MaxStillBody)
	}
	var said wire.Still
	if err := json.Unmarshal(text, &said); err != nil {
		return out, fmt.Errorf("decode a still: %w", err)
	}
	if said.Session != ask.Session {
		return out, errors.New("the still is of another session")
	}
	out.Session, out.At = ask.Session, time.Now().UTC()
	if said.At.Before(out.At) && out.At.Sub(said.At) < stillWithin {
		out.At = said.At.UTC()
	}
	out.Width, out.Height, out.JPEG, err = still.Clean(said.JPEG)
	return out, err
}
