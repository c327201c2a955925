package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
)

// appEvent is a line that the test app prints.
type appEvent struct {
	Type, Text    string
	Keysym        uint32
	Button, State int
	X, Y          int
}

// hands are a person's, at a page whose app prints what it gets.
type hands struct {
	t    *testing.T
	ctx  context.Context
	app  string
	page *browser.Page
	seen int // lines of the app that were read
}

// events are what the app printed since the last call, up to the press of F8, which is
// pressed for that.
func (h *hands) events() (got []appEvent) {
	h.t.Helper()
	h.eval(`(() => { for (const type of ['keydown', 'keyup']) document.activeElement.dispatchEvent(
		new KeyboardEvent(type, { bubbles: true, cancelable: true, key: 'F8', code: 'F8' })); })()`)
	const f8 = 0xffc5
	testkit.Retry(h.ctx, h.t, "the app gets F8", func() error {
		lines := strings.Split(appOutput(h.ctx, h.t, h.app, "ready"), "\n")
		got = nil
		for i, text := range lines[min(h.seen, len(lines)):] {
			var e appEvent
			if json.Unmarshal([]byte(text), &e) != nil {
				continue
			}
			if e.Keysym == f8 && e.Type == "key_release" {
				h.seen += i + 1
				return nil
			}
			if e.Keysym != f8 {
				got = append(got, e)
			}
		}
		return fmt.Errorf("it got %+v", got)
	})
	return got
}

// text is what the key presses among events wrote.
func text(events []appEvent) string {
	var b strings.Builder
	for _, e := range events {
		if e.Type == "key_press" {
			b.WriteString(e.Text)
		}
	}
	return b.String()
}

func (h *hands) eval(expression string) {
	h.t.Helper()
	testkit.Must(h.t, h.page.Eval(h.ctx, expression, nil))
}

// write types a text by keys without codes, 30 ms apart.
func (h *hands) write(text string) {
	h.t.Helper()
	raw, err := json.Marshal(text)
	testkit.Must(h.t, err)
	h.eval(`(async () => { for (const key of ` + string(raw) + `) {
		for (const type of ['keydown', 'keyup']) document.activeElement.dispatchEvent(new KeyboardEvent(type, { bubbles: true, cancelable: true, key, code: '' }));
		await new Promise((r) => setTimeout(r, 30));
	} })()`)
}

// processOf is the app with an argument that no other has.
func processOf(t *testing.T, arg string) int {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		command, _ := os.ReadFile(file)
		if words := strings.Split(string(command), "\x00"); filepath.Base(words[0]) == "testapp" && slices.Contains(words, arg) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			testkit.Must(t, err)
			return pid
		}
	}
	t.Fatalf("no app with %s runs", arg)
	return 0
}

// What a person types and does with the mouse reaches an app through the whole chain:
// Chromium, stream host, display.
func TestHands(t *testing.T) {
	ctx := testkit.Context(t, 3*time.Minute)
	app := runApp(ctx, t, map[string]string{"args": "-mouse-look", "max": "1"})
	testkit.Must(t, site.WaitIdle(ctx, app))
	h := &hands{t: t, ctx: ctx, app: app, page: open(ctx, t, app)}
	play(ctx, t, h.page)
	h.events()

	// An input method.
	h.eval(`(() => {
		const give = (kind, type, more) => document.activeElement.dispatchEvent(new kind(type, { bubbles: true, cancelable: true, ...more }));
		give(KeyboardEvent, 'keydown', { key: 'Process', code: 'KeyH', keyCode: 229 });
		give(CompositionEvent, 'compositionstart', {});
		give(CompositionEvent, 'compositionupdate', { data: 'hel' });
		give(CompositionEvent, 'compositionend', { data: 'hello' });
		give(InputEvent, 'beforeinput', { inputType: 'insertText', data: '日本語é😀' });
	})()`)
	got := h.events()
	if text(got) != "hello日本語é😀" {
		t.Errorf("an input method's text came as %q", text(got))
	}
	for _, e := range got {
		if e.State != 0 {
			t.Errorf("with modifiers: %+v", e)
		}
	}

	// The app hangs while the person types.
	const many = "абвгдежзийклмнопрстуфхцчшщъыьэюяαβγδεζηθικλμνξοπρστυφχψωąćęłńóśźżßåøæœđțșžč"
	pid := processOf(t, "-mouse-look")
	testkit.Must(t, syscall.Kill(pid, syscall.SIGSTOP))
	h.write(many)
	testkit.Must(t, syscall.Kill(pid, syscall.SIGCONT))
	if got := text(h.events()); got != many {
		t.Errorf("what was typed while the app hung came as\n%s, want\n%s", got, many)
	}

	// The window loses the focus with keys held.
	h.eval(`(() => {
		for (const [key, code] of [['Shift', 'ShiftLeft'], ['W', 'KeyW']]) document.activeElement.dispatchEvent(
			new KeyboardEvent('keydown', { bubbles: true, cancelable: true, key, code, shiftKey: true }));
		window.dispatchEvent(new Event('blur'));
	})()`)
	held := map[uint32]bool{}
	for _, e := range h.events() {
		if e.Keysym != 0 {
			held[e.Keysym&^0x20] = e.Type == "key_press"
		}
	}
	for key, down := range held {
		if down {
			t.Errorf("key %#x is still down", key)
		}
	}
	if len(held) == 0 {
		t.Error("the app got no keys")
	}

	// The app takes the mouse, and gives it back.
	testkit.Must(t, h.page.Drag(ctx, 300, 300, 310, 300, 2))
	h.write("g")
	testkit.Must(t, h.page.Until(ctx, `document.pointerLockElement`))
	h.write("g") // a position may have come before the lock
	h.eval(`(async () => { for (let n = 0; n < 90; n++) {
		document.querySelector('.surface').dispatchEvent(new PointerEvent('pointermove', { bubbles: true, pointerType: 'mouse', movementX: 19 }));
		await new Promise(requestAnimationFrame);
	} })()`)
	h.write("h")
	testkit.Must(t, h.page.Until(ctx, `!document.pointerLockElement`))
	looked := false
	for _, e := range h.events() {
		if e.Type == "looked" {
			looked = true
			if e.X < 1690 || e.X > 1730 || e.Y != 0 {
				t.Errorf("the app got a motion of %d,%d, want 1710,0", e.X, e.Y)
			}
		}
	}
	if !looked {
		t.Error("the app did not say how the mouse moved")
	}
	testkit.Must(t, h.page.Until(ctx, `/^image-set\(|^default/.test(document.querySelector('.surface').style.cursor)`))
	leave(ctx, t, h.page)
	ended(ctx, t, h.page)
}
