package configure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nearcast/nearcast/provision/awsapi"
)

// patience makes a call again until it works, since each may fail when a node boots: the
// way out of the network, the rights of a new role and AWS itself come when they come.
// Pauses grow to a minute, and differ between nodes that start together.
type patience struct {
	first time.Duration // the longest first pause
	log   *slog.Logger
}

// longest is the longest pause between two attempts.
const longest = time.Minute

// until returns nil or an answer that more attempts do not change, and the last error when
// ctx ends.
func (p patience) until(ctx context.Context, what string, call func() error) error {
	for pause := p.first; ; pause = min(2*pause, longest) {
		err := call()
		if err == nil || errors.Is(err, awsapi.ErrNoSecret) || errors.Is(err, awsapi.ErrNoMetadata) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		wait := pause/2 + rand.N(pause/2+1)
		p.log.Warn("retrying", "what", what, "after", wait.Round(time.Millisecond), "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), err))
		}
	}
}

// patientStore is a Store whose calls are made again.
type patientStore struct {
	Store
	patience
}

func (s patientStore) Secret(ctx context.Context, name string) (value string, err error) {
	err = s.until(ctx, "read a secret", func() (err error) {
		value, err = s.Store.Secret(ctx, name)
		return err
	})
	return value, err
}

func (s patientStore) PutFirstSecret(ctx context.Context, name, value string) error {
	return s.until(ctx, "write a secret", func() error { return s.Store.PutFirstSecret(ctx, name, value) })
}

// PutSecret may be made again: its token makes a second write of the same value no write.
func (s patientStore) PutSecret(ctx context.Context, name, value, token string) error {
	return s.until(ctx, "write a secret", func() error { return s.Store.PutSecret(ctx, name, value, token) })
}
