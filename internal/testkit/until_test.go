package testkit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// failure is a test that notes why it failed, and leaves the one that runs alone.
type failure struct {
	testing.TB
	text string
}

func (f *failure) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

func (f *failure) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// Skip counts as a failure that says why.
func (f *failure) Skip(args ...any) { f.Fatalf("skipped: %s", fmt.Sprint(args...)) }

// failing runs what should fail a test, and returns what the test says then.
func failing(t testing.TB, do func(t testing.TB)) string {
	f := &failure{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(f)
	}()
	<-done
	return f.text
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		Until(t, "the third try", func() bool { tries++; return tries == 3 })
		if tries != 3 {
			t.Errorf("%d tries", tries)
		}

		begin := time.Now()
		said := failing(t, func(t testing.TB) { Until(t, "pigs fly", func() bool { return false }) })
		if took := time.Since(begin); took != time.Minute || said != "pigs fly: not within 1m0s" {
			t.Errorf("after %v it says %q", took, said)
		}
		begin = time.Now()
		said = failing(t, func(t testing.TB) { Within(t, time.Second, "pigs fly", func() bool { return false }) })
		if took := time.Since(begin); took != time.Second || said != "pigs fly: not within 1s" {
			t.Errorf("after %v it says %q", took, said)
		}
		said = failing(t, func(t testing.TB) {
			UntilSeen(t, "pigs fly", func() (any, bool) { return struct{ Wings int }{0}, false })
		})
		if said != "pigs fly: not within 1m0s; seen last: {Wings:0}" {
			t.Errorf("it says %q", said)
		}
		// One look more than there is time for: the last pause may have been long.
		begin = time.Now()
		Within(t, time.Second, "it is late", func() bool { return time.Since(begin) >= time.Second })
	})
}

func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		Retry(t.Context(), t, "the third try", func() error {
			if tries++; tries < 3 {
				return errors.New("too early")
			}
			return nil
		})
		if tries != 3 {
			t.Errorf("%d tries", tries)
		}

		begin := time.Now()
		said := failing(t, func(f testing.TB) {
			ctx := Context(t, 10*time.Second)
			Retry(ctx, f, "pigs fly", func() error {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return errors.New("no wings")
			})
		})
		if took := time.Since(begin); took != 10*time.Second || said != "pigs fly: not within 10s; the last error: no wings" {
			t.Errorf("after %v it says %q", took, said)
		}
		// A try that ctx cuts off does not hide why the one before failed.
		said = failing(t, func(f testing.TB) {
			ctx, tries := Context(t, 10*time.Second), 0
			Retry(ctx, f, "pigs fly", func() error {
				if tries++; tries == 1 {
					return errors.New("no wings")
				}
				<-ctx.Done()
				return ctx.Err()
			})
		})
		if !strings.HasSuffix(said, "the last error: no wings") {
			t.Errorf("it says %q", said)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		said = failing(t, func(f testing.TB) { Retry(ended, f, "pigs fly", func() error { return nil }) })
		if said != "pigs fly: context canceled; the last error: it was not tried" {
			t.Errorf("it says %q", said)
		}
	})
}

func TestMust(t *testing.T) {
	Must(t, nil)
	if said := failing(t, func(t testing.TB) { Must(t, errors.New("no wings")) }); said != "no wings" {
		t.Errorf("it says %q", said)
	}
}
