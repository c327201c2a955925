package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/nearcast/nearcast/internal/wire"
)

// maxError bounds what an error says.
const maxError = 300

// storedAt is when a batch was stored, which its key says. The time of an event would not do: a session
// that has lasted for a day has a start that is older, and it may be by a node's clock.
func storedAt(key string, otherwise time.Time) time.Time {
	var term, n, at int64
	if _, err := fmt.Sscanf(path.Base(key), "%d-%d-%d.json", &term, &n, &at); err != nil {
		return otherwise
	}
	return time.Unix(at, 0)
}

// plain is an error as operators see it, in Consul and in a terminal: short, and without what an endpoint
// may have put into it, such as the names in its certificate, to draw on that terminal.
func plain(err error) string {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, err.Error())
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	return text
}

// further is how many events may be in memory where none of those that are there can be sent now. more is
// false where there are no others, or no more may be.
func (s *sender) further() (most int, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most = min(len(s.items)+1, maxItems)
	return most, s.running == 0 && len(s.stored) > 0 && len(s.items) < most
}

// fetch has the body of an event that is to be sent. It reports false where the event is not to be sent
// now; then that is noted.
func (s *sender) fetch(ctx context.Context, one *item) bool {
	if one.body != nil {
		return true
	}
	data, err := s.store.Get(ctx, one.of.key)
	var all []wire.Event
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if at := slices.IndexFunc(all, func(e wire.Event) bool { return e.ID == one.id }); err == nil && at >= 0 {
		one.body, err = json.Marshal(all[at])
	}
	if one.body != nil || ctx.Err() != nil {
		return one.body != nil
	}
	s.mu.Lock()
	one.running = false
	s.running--
	if err != nil && !errors.Is(err, ErrMissing) {
		one.next = time.Now().Add(delays[0])
		s.until = one.next // which counts where nothing arrives
		s.mu.Unlock()
		s.count.storeFailed()
		s.again()
		return false
	}
	empty := s.remove(one)
	s.state.Dropped++
	s.mu.Unlock()
	s.lost(1, "the store has them no more")
	s.forget(ctx, empty)
	s.again()
	return false
}
