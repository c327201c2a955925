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
	if poll(ctx, 5*time.Millisecond, func() bool { _, ok := see(); return ok }) {
		return
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
	done := poll(ctx, 50*time.Millisecond, func() bool {
		err := try()
		// An error because ctx ended does not say what is wrong.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		return err == nil
	})
	if done {
		return
	}
	if last == nil {
		last = errors.New("it was not tried")
	}
	t.Fatalf("%s: %v; the last error: %v", what, context.Cause(ctx), last)
}

// poll tries until it is true, or until ctx ends. The pauses are short at first, so
// that what is quick is seen at once, and then get longer up to most.
func poll(ctx context.Context, most time.Duration, try func() bool) bool {
	for pause := time.Millisecond; ctx.Err() == nil; pause = min(2*pause, most) {
		if try() {
			return true
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return false
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
