package testkit

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// patience is how long Until waits. Most conditions are true within milliseconds;
// the limit is for a busy machine.
const patience = time.Minute

// Until waits for a condition that costs little to look at and has no event to
// wait on. The test fails where it is false for a minute.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	Within(t, patience, what, ok)
}

// Within is Until with a limit of its own.
func Within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	look(t, limit, what, func() (any, bool) { return nil, ok() })
}

// UntilSeen is Until for what can be shown: where the test fails, it says what was
// seen last.
func UntilSeen(t testing.TB, what string, see func() (seen any, ok bool)) {
	t.Helper()
	look(t, patience, what, see)
}

func look(t testing.TB, limit time.Duration, what string, see func() (seen any, ok bool)) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	for pause := range pauses(ctx, 5*time.Millisecond) {
		if _, ok := see(); ok {
			return
		}
		pause()
	}
	// One more look: on a busy machine the last pause can be long.
	switch seen, ok := see(); {
	case ok:
	case seen == nil:
		t.Fatalf("%s: %v", what, context.Cause(ctx))
	default:
		t.Fatalf("%s: %v; seen last: %+v", what, context.Cause(ctx), seen)
	}
}

// Retry tries something until it has no error. The test fails with the last error
// where ctx ends before. What is tried may cost something: a request, a command.
func Retry(ctx context.Context, t testing.TB, what string, try func() error) {
	t.Helper()
	var last error
	for pause := range pauses(ctx, 50*time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		// An error because ctx ended does not say what is wrong.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		pause()
	}
	if last == nil {
		last = errors.New("it was not tried")
	}
	t.Fatalf("%s: %v; the last error: %v", what, context.Cause(ctx), last)
}

// pauses gives a pause for each try until ctx ends: short ones at first, so that
// what is quick is seen at once, and none longer than most.
func pauses(ctx context.Context, most time.Duration) func(yield func(pause func()) bool) {
	return func(yield func(func()) bool) {
		timer := time.NewTimer(0)
		defer timer.Stop()
		wait := time.Millisecond / 2
		for ctx.Err() == nil {
			paused := yield(func() {
				wait = min(2*wait, most)
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-ctx.Done():
				}
			})
			if !paused {
				return
			}
		}
	}
}

// Context ends with the test, or after a time.
func Context(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("not within %s", limit))
	t.Cleanup(cancel)
	return ctx
}

// Must fails the test where there is an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
