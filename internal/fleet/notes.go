package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"
)

// notesPrefix is where commands of operators say what they do.
const notesPrefix = "nearcast/notes/"

// noteTimeout bounds each call: a note is said again every few seconds.
const noteTimeout = 5 * time.Second

// Note reads a small text; it is empty where there is none, with the index 0.
func (f *Fleet) Note(ctx context.Context, name string) (text string, index uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	q := f.query(ctx)
	q.RequireConsistent = true
	pair, _, err := f.consul.KV().Get(notesPrefix+name, q)
	if err != nil {
		return "", 0, fmt.Errorf("read the note %s: %w", name, err)
	}
	if pair == nil {
		return "", 0, nil
	}
	return string(pair.Value), pair.ModifyIndex, nil
}

// PutNote writes one that nobody wrote since index, and reports whether it did. An empty text removes it.
func (f *Fleet) PutNote(ctx context.Context, name, text string, index uint64) (did bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	pair := &api.KVPair{Key: notesPrefix + name, Value: []byte(text), ModifyIndex: index}
	if text == "" {
		did, _, err = f.consul.KV().DeleteCAS(pair, f.write(ctx))
	} else {
		did, _, err = f.consul.KV().CAS(pair, f.write(ctx))
	}
	if err != nil {
		return false, fmt.Errorf("write the note %s: %w", name, err)
	}
	return did, nil
}
