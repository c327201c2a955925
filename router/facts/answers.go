package facts

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// worthZipping is the size of an answer from which it is compressed: a packet or two.
	worthZipping = 2 << 10
	// What is kept of encoded answers: those to the versions that routers have who ask now
	// and then, and not to all that are remembered.
	maxAnswers    = 64
	maxAnswerSize = 4 << 20
	// What comes with the answer to a check, which is small and in time: few packets.
	maxHealthText = 32 << 10
	maxHealthBody = 8 << 10
)

// Answer is an answer as it is sent. It does not change.
type Answer struct {
	Body   []byte // JSON
	Zipped bool   // by gzip
}

// question is what an answer depends on, besides the facts.
type question struct {
	have   string // empty where everything is told
	zip    bool
	health bool
}

// answers are those of the current version. Teller.mu guards them.
type answers struct {
	kept map[question]Answer
	size int
}

// Answer is Since as it is sent, compressed if that is worth it and the caller takes it.
// Routers by the hundred ask for the same, so an answer is encoded once until the facts
// change.
func (t *Teller) Answer(have string, zip bool) (Answer, error) {
	return t.answer(question{have: have, zip: zip}, func(f wire.SiteFacts) (Answer, error) { return Encode(f, zip) })
}

// Health is the answer to a router that checks this one and has a version, with the changes
// since that: so it need not ask again. ok is false where the router has the current version
// or one that is not remembered, or where the changes are too long to come with a check.
func (t *Teller) Health(have string, zip bool) (a Answer, ok bool) {
	if have == "" || have == t.Version() {
		return a, false
	}
	a, err := t.answer(question{have: have, zip: zip, health: true}, func(f wire.SiteFacts) (Answer, error) {
		if f.Since == "" {
			return Answer{}, nil
		}
		a, text, err := encode(wire.Health{Status: "ok", Site: f.Site, Facts: f.Version, Changes: &f}, zip)
		if text > maxHealthText || len(a.Body) > maxHealthBody {
			a = Answer{}
		}
		return a, err
	})
	return a, err == nil && len(a.Body) > 0
}

func (t *Teller) answer(q question, encoded func(wire.SiteFacts) (Answer, error)) (Answer, error) {
	if a, ok := t.answered(&q); ok {
		return a, nil
	}
	t.encoding.Lock() // a router that asks for the same meanwhile waits for this answer
	defer t.encoding.Unlock()
	if a, ok := t.answered(&q); ok {
		return a, nil
	}
	facts := t.Since(q.have)
	a, err := encoded(facts)
	if err == nil {
		q.have = facts.Since
		t.keep(facts.Version, q, a)
	}
	return a, err
}

// answered finds an answer that was encoded before. A version that is not remembered asks
// for everything.
func (t *Teller) answered(q *question) (Answer, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.steps[q.have]; !ok {
		q.have = ""
	}
	a, ok := t.answers.kept[*q]
	return a, ok
}

func (t *Teller) keep(version string, q question, a Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if version != t.version || len(t.answers.kept) >= maxAnswers || t.answers.size+len(a.Body) > maxAnswerSize {
		return
	}
	if t.answers.kept == nil {
		t.answers.kept = map[question]Answer{}
	}
	t.answers.kept[q] = a
	t.answers.size += len(a.Body)
}

var zippers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
	return z
}}

// Encode makes an answer of facts.
func Encode(f wire.SiteFacts, zip bool) (Answer, error) {
	a, _, err := encode(f, zip)
	return a, err
}

// encode is Encode of anything, and says how long the text is.
func encode(what any, zip bool) (a Answer, length int, err error) {
	text, err := json.Marshal(what)
	if err != nil {
		return a, 0, fmt.Errorf("encode facts: %w", err)
	}
	if !zip || len(text) < worthZipping {
		return Answer{Body: text}, len(text), nil
	}
	var out bytes.Buffer
	z := zippers.Get().(*gzip.Writer)
	defer zippers.Put(z)
	z.Reset(&out)
	_, err = z.Write(text)
	if err = errors.Join(err, z.Close()); err != nil {
		return a, 0, fmt.Errorf("compress facts: %w", err)
	}
	return Answer{Body: bytes.Clone(out.Bytes()), Zipped: true}, len(text), nil
}
