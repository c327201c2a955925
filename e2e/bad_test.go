package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// Apps and content that cannot work. Each reason reaches Nomad's task event by
// its code, and the person by words.
func TestReasonReachesPersonAndNomad(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	object := filepath.Join(t.TempDir(), "object")
	testkit.Must(t, os.WriteFile(object, []byte("not what the job promised"), 0o600))
	testkit.Must(t, site.Upload(ctx, "e2e/object", object))

	for _, bad := range []struct {
		name string
		vars map[string]string
		code string // in the task event
		says string // on the screen, in any case
		hide string // for operators alone: never on the screen
	}{
		{"content-missing", map[string]string{"content": "s3://" + dev.Bucket + "/no/such/object"}, wire.CodeContentMissing, wire.CodeContentMissing, "no/such/object"},
		{"bucket-missing", map[string]string{"content": "s3://no-such-bucket/object"}, wire.CodeContentMissing, wire.CodeContentMissing, "no-such-bucket"},
		{"checksum", map[string]string{"content": "s3://" + dev.Bucket + "/e2e/object", "sha256": strings.Repeat("ab", 32)}, wire.CodeContentChecksum, wire.CodeContentChecksum, "abab"},
		{"command-missing", map[string]string{"command": "/no/such/program"}, wire.CodeAppNotFound, wire.CodeAppNotFound, "/no/such/program"},
		{"exits-at-once", map[string]string{"args": "-exit-after 1ms -exit-code 3"}, "app-exited(3)", "3", ""},
		{"crashes", map[string]string{"args": "-crash"}, "app-exited(signal 6)", "6", ""},
		{"low-memory", map[string]string{"memory": "20"}, "the seat's memory limit of 20 MB was reached", wire.CodeMemory, ""},
		{"no-window", map[string]string{"args": "-no-window", "start_timeout": "2s"}, wire.CodeAppNoWindow, "window", "/bin/testapp"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			ctx := testkit.Context(t, time.Minute)
			vars := map[string]string{"warm": "0", "max": "1"}
			for k, v := range bad.vars {
				vars[k] = v
			}
			app := runApp(ctx, t, vars)
			page := open(ctx, t, app)
			testkit.Must(t, page.Click(ctx, ".play-button"))
			text := ended(ctx, t, page)
			if !strings.Contains(strings.ToLower(text), strings.ToLower(bad.says)) {
				t.Errorf("the screen does not speak of %q:\n%s", bad.says, text)
			}
			if bad.hide != "" && strings.Contains(text, bad.hide) {
				t.Errorf("the screen tells everybody about %q:\n%s", bad.hide, text)
			}
			testkit.Retry(ctx, t, "Nomad is told "+bad.code, func() error {
				if events := taskEvents(t, app); !strings.Contains(events, bad.code) {
					return fmt.Errorf("the task events are %s", events)
				}
				return nil
			})
		})
	}
}

func TestAppThatExitsMidSession(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	app := runApp(ctx, t, map[string]string{"args": "-exit-on-key Escape -exit-code 7"})
	testkit.Must(t, site.WaitIdle(ctx, app))
	page := open(ctx, t, app)
	play(ctx, t, page)
	testkit.Must(t, page.Key(ctx, "\x1b"))
	if text := ended(ctx, t, page); !strings.Contains(text, "7") {
		t.Errorf("the screen does not tell the exit code 7:\n%s", text)
	}
	testkit.Must(t, site.WaitIdle(ctx, app))
}

// A warm pool whose app never starts must not dispatch in a hot loop.
func TestFailingAppIsRetriedWithBackOff(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	app := runApp(ctx, t, map[string]string{"warm": "1", "args": "-exit-after 1ms -exit-code 3"})
	testkit.Retry(ctx, t, "the app is known to fail", func() error {
		r, err := capacity(ctx, app)
		if err == nil && r.Failing == "" {
			err = fmt.Errorf("the capacity is %+v", r)
		}
		return err
	})
	started := time.Now()
	testkit.Retry(ctx, t, "a third seat was tried", func() error {
		if n := len(children(t, app)); n < 3 {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
	// Back-off starts at 1 s and doubles: a third try comes 2 s or more after
	// the second, and a hot loop would have made dozens by now.
	if n := len(children(t, app)); n > 4 {
		t.Errorf("%d seats were tried within %s", n, time.Since(started))
	}
}
