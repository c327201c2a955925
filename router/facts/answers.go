package facts

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
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
)

// Answer is an answer as it is sent. It does not change.
type Answer struct {
	Body   []byte // JSON
	Zipped bool   // by gzip
}

// question is what an answer depends on, besides the facts.
type question struct {
	have string // empty where everything is told
	zip  bool
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
	q := question{have, zip}
	if a, ok := t.answered(&q); ok {
		return a, nil
	}
	t.encoding.Lock() // whoever asks for the same meanwhile waits for this answer
	defer t.encoding.Unlock()
	if a, ok := t.answered(&q); ok {
		return a, nil
	}
	facts := t.Since(q.have)
	a, err := Encode(facts, zip)
	if err == nil {
		t.keep(facts.Version, question{facts.Since, zip}, a)
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
	text, err := json.Marshal(f)
	if err != nil {
		return Answer{}, fmt.Errorf("encode facts: %w", err)
	}
	if !zip || len(text) < worthZipping {
		return Answer{Body: text}, nil
	}
	var out bytes.Buffer
	z := zippers.Get().(*gzip.Writer)
	defer zippers.Put(z)
	z.Reset(&out)
	_, err = z.Write(text)
	if wrong := z.Close(); err != nil || wrong != nil { // a buffer takes all that is written
		return Answer{Body: text}, nil
	}
	return Answer{Body: bytes.Clone(out.Bytes()), Zipped: true}, nil
}
