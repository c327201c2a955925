package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

// One command at a time rotates a secret or promotes a site. It says so in Consul of the primary
// site, and says it again every few seconds. A note that does not change is one of a command that was killed.

// Notes are small texts in a site's Consul.
type Notes interface {
	// Note is empty where there is none, with the index 0.
	Note(ctx context.Context, name string) (text string, index uint64, err error)
	// PutNote writes one that nobody wrote since index, and reports whether it did; an empty text
	// removes it.
	PutNote(ctx context.Context, name, text string, index uint64) (bool, error)
}

const (
	workNote = "operator"
	// workBeat is the time between two writes. workDead is for how long a note stays as it is until it is one
	// of a command that was killed.
	workBeat = 2 * time.Second
	workDead = 5 * workBeat
)

type work struct {
	ID    string    `json:"id"`
	What  string    `json:"what"`
	By    string    `json:"by"`
	Since time.Time `json:"since"`
	Beat  int       `json:"beat"`
}

// errTaken ends a command whose note another one replaced.
var errTaken = errors.New("another command took over, because this one was not heard of; nothing is lost: look what that one does")

// alone returns a context that ends when another command takes over, and a function that removes
// the note, and may be called twice. The error says who is at work.
func (c *Cluster) alone(ctx context.Context, what string) (context.Context, func(), error) {
	notes := c.Reach(c.Outputs.Primary().Name).Consul
	beat, dead := workBeat, workDead
	if c.Beat > 0 {
		beat, dead = c.Beat, 5*c.Beat
	}
	mine := work{ID: uuid.NewString(), What: what, By: c.By, Since: time.Now().UTC()}
	text, index, err := notes.Note(ctx, workNote)
	if err != nil {
		return nil, nil, fmt.Errorf("look whether another command is at work: %w", err)
	}
	if text != "" {
		var other work
		if err := json.Unmarshal([]byte(text), &other); err != nil {
			other.What = "a command of another release"
		}
		words := fmt.Sprintf("%s, by %s, since %s", other.What, other.By, other.Since.Format("15:04:05 MST on 2006-01-02"))
		c.say("another command was at work: " + words + ". Looks whether it still is")
		timer := time.NewTimer(dead)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, nil, errors.New("it was interrupted; nothing was changed")
		}
		again, newer, err := notes.Note(ctx, workNote)
		if err != nil {
			return nil, nil, fmt.Errorf("look whether another command is at work: %w", err)
		}
		if again != "" && newer != index {
			return nil, nil, fmt.Errorf("another command is at work: %s. Wait until it ends, or end it; nothing was changed", words)
		}
		index = newer
	}
	if took, err := putWork(ctx, notes, mine, index); err != nil || !took {
		if err == nil {
			err = errors.New("another command began at the same time; nothing was changed")
		}
		return nil, nil, fmt.Errorf("say that this command is at work: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	hold, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-hold.Done():
				return
			}
			// A site that does not answer is none that another command took over.
			if has, err := mine.say(hold, notes); err == nil && !has {
				cancel(errTaken)
				return
			}
		}
	}()
	return ctx, sync.OnceFunc(func() {
		stop()
		<-done
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if text, index, err := notes.Note(end, workNote); err == nil && mine.is(text) {
			notes.PutNote(end, workNote, "", index) // where it fails, the next command waits a moment
		}
	}), nil
}

// say writes the note again, if it is still this command's.
func (w *work) say(ctx context.Context, notes Notes) (has bool, err error) {
	text, index, err := notes.Note(ctx, workNote)
	if err != nil {
		return true, err
	}
	if !w.is(text) {
		return false, nil
	}
	w.Beat++
	return putWork(ctx, notes, *w, index)
}

func (w *work) is(text string) bool {
	var has work
	return json.Unmarshal([]byte(text), &has) == nil && has.ID == w.ID
}

func putWork(ctx context.Context, notes Notes, w work, index uint64) (bool, error) {
	text, err := json.Marshal(w)
	if err != nil {
		return false, err
	}
	return notes.PutNote(ctx, workNote, string(text), index)
}

// taken says why a command ended, where another one took over.
func taken(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errTaken) {
		return errTaken
	}
	return err
}
