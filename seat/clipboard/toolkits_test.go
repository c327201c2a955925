package clipboard

import (
	"bufio"
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// toolkit is a program whose clipboard is that of a toolkit.
type toolkit struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

// pasted is what a program got; what is nil it did not find.
type pasted struct {
	Ready, Copied bool
	Text, HTML    *string
	Picture       []int // width, height, and the colour of its last pixel
}

// toolkits are programs with the clipboards of GTK 3 and Qt 5, as Debian has them.
func (b *board) toolkits(test func(t *testing.T, b *board, app *toolkit)) {
	for name, c := range map[string]struct{ file, module, packages string }{
		"GTK 3": {"testdata/gtk.py", `import gi; gi.require_version("Gtk", "3.0")`, "python3-gi and gir1.2-gtk-3.0"},
		"Qt 5":  {"testdata/qt.py", "import PyQt5.QtGui", "python3-pyqt5"},
	} {
		b.t.Run(name, func(t *testing.T) {
			if err := exec.Command("/usr/bin/python3", "-c", c.module).Run(); err != nil {
				t.Skipf("%s are not installed", c.packages)
			}
			own := *b
			own.t = t
			cmd := exec.Command("/usr/bin/python3", c.file)
			cmd.Env = append(os.Environ(), b.d.Env()...)
			cmd.Stderr = os.Stderr
			in, err := cmd.StdinPipe()
			testkit.Must(t, err)
			out, err := cmd.StdoutPipe()
			testkit.Must(t, err)
			testkit.Start(t, cmd)
			app := &toolkit{t: t, in: in, out: bufio.NewScanner(out)}
			app.out.Buffer(nil, 4*wire.MaxClip)
			if !app.next().Ready {
				t.Fatal("the program does not come up")
			}
			test(t, &own, app)
		})
	}
}

func (a *toolkit) next() (p pasted) {
	a.t.Helper()
	if !a.out.Scan() {
		a.t.Fatalf("the program ended: %v", a.out.Err())
	}
	if err := json.Unmarshal(a.out.Bytes(), &p); err != nil {
		a.t.Fatalf("the program said %.200q: %v", a.out.Text(), err)
	}
	return p
}

func (a *toolkit) ask(question map[string]any) pasted {
	a.t.Helper()
	testkit.Must(a.t, json.NewEncoder(a.in).Encode(question))
	return a.next()
}

// copies has the program copy these kinds at once.
func (a *toolkit) copies(kinds map[string]any) {
	a.t.Helper()
	if !a.ask(map[string]any{"copy": kinds}).Copied {
		a.t.Fatal("the program did not copy")
	}
}

func (a *toolkit) pastes() pasted { return a.ask(map[string]any{"paste": true}) }

// noise is a picture that does not compress, and what a program says of it.
func noise(t *testing.T, width, height int) (data []byte, told []int) {
	t.Helper()
	p := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range p.Pix {
		p.Pix[i] = byte(rand.Uint32()) | byte(i%4/3*255) // opaque
	}
	p.Set(width-1, height-1, color.NRGBA{12, 200, 99, 255})
	var file bytes.Buffer
	testkit.Must(t, png.Encode(&file, p))
	return file.Bytes(), []int{width, height, 12, 200, 99}
}

const (
	richText = "Grüße, 日本 😀\nand a second line"
	richHTML = "<p>Grüße, <b>日本</b> 😀</p>"
)

// What a person copied comes to programs of both toolkits: text, HTML and pictures, also those that need pieces.
func TestToolkitsPaste(t *testing.T) {
	newBoard(t).toolkits(func(t *testing.T, b *board, app *toolkit) {
		small, toldSmall := noise(t, 40, 30)
		large, toldLarge := noise(t, 1500, 1000)
		for _, c := range []struct {
			name string
			png  []byte
			told []int
		}{{"small", small, toldSmall}, {"large", large, toldLarge}} {
			offer := wire.ClipOffer{ID: 1, HTML: len(richHTML), PNG: len(c.png)}
			testkit.Must(t, b.clip.Put(given(richText, offer, map[wire.ClipKind][]byte{wire.ClipHTML: []byte(richHTML), wire.ClipPNG: c.png})))
			got := app.pastes()
			if got.Text == nil || *got.Text != richText {
				t.Errorf("%s: text %v", c.name, deref(got.Text))
			}
			if got.HTML == nil || *got.HTML != richHTML {
				t.Errorf("%s: HTML %v", c.name, deref(got.HTML))
			}
			if !slices.Equal(got.Picture, c.told) {
				t.Errorf("%s: the picture of %d bytes is %v, want %v", c.name, len(c.png), got.Picture, c.told)
			}
		}
		// Text alone, and one that is fetched when it is asked for.
		testkit.Must(t, b.clip.Put(Content{Text: richText}))
		if got := app.pastes(); got.Text == nil || *got.Text != richText || got.HTML != nil || got.Picture != nil {
			t.Errorf("text alone: %v, HTML %v, picture %v", deref(got.Text), deref(got.HTML), got.Picture)
		}
		long := bytes.Repeat([]byte("Grüße "), 100_000)
		testkit.Must(t, b.clip.Put(given("", wire.ClipOffer{ID: 2, Text: len(long)}, map[wire.ClipKind][]byte{wire.ClipText: long})))
		if got := app.pastes(); got.Text == nil || *got.Text != string(long) {
			t.Errorf("a long text came with %d bytes", len(deref(got.Text)))
		}
	})
}

// What programs of both toolkits copy comes to the person.
func TestToolkitsCopy(t *testing.T) {
	newBoard(t).toolkits(func(t *testing.T, b *board, app *toolkit) {
		large, told := noise(t, 1200, 800)
		app.copies(map[string]any{"text": richText, "html": richHTML, "png": large})
		got := b.next()
		if string(got[wire.ClipText]) != richText {
			t.Errorf("text %.60q", got[wire.ClipText])
		}
		if string(got[wire.ClipHTML]) != richHTML {
			t.Errorf("HTML %.60q", got[wire.ClipHTML])
		}
		picture, err := png.Decode(bytes.NewReader(got[wire.ClipPNG]))
		if err != nil {
			t.Fatalf("a picture of %d bytes: %v", len(got[wire.ClipPNG]), err)
		}
		size := picture.Bounds().Size()
		last := color.NRGBAModel.Convert(picture.At(size.X-1, size.Y-1)).(color.NRGBA)
		if now := []int{size.X, size.Y, int(last.R), int(last.G), int(last.B)}; !slices.Equal(now, told) {
			t.Errorf("the picture is %v, want %v", now, told)
		}
		app.copies(map[string]any{"html": richHTML})
		if got := b.next(); string(got[wire.ClipHTML]) != richHTML || got[wire.ClipPNG] != nil {
			t.Errorf("HTML alone: %.60q, a picture of %d bytes", got[wire.ClipHTML], len(got[wire.ClipPNG]))
		}
		app.copies(map[string]any{"text": "short"})
		if got := b.next(); string(got[wire.ClipText]) != "short" || got[wire.ClipHTML] != nil {
			t.Errorf("text alone: %.60q, HTML %.60q", got[wire.ClipText], got[wire.ClipHTML])
		}
	})
}

func deref(s *string) string {
	if s == nil {
		return "(none)"
	}
	return *s
}
