package setup

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// output is where a finder says what it does. On a terminal, progress is one line that
// changes. In a file it is a line every ten seconds.
type output struct {
	w        io.Writer
	terminal bool
	every    time.Duration // between two lines of progress
	shown    time.Time     // when progress was last shown
	open     bool          // a line of progress is not ended
}

func newOutput(w io.Writer) *output {
	if w == nil {
		w = io.Discard
	}
	o := &output{w: w, every: 10 * time.Second}
	if f, ok := w.(*os.File); ok {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			o.terminal, o.every = true, 100*time.Millisecond
		}
	}
	return o
}

// line writes a line that stays.
func (o *output) line(format string, args ...any) {
	o.end()
	fmt.Fprintf(o.w, format+"\n", args...)
	o.shown = time.Now()
}

// progress shows how far something is, if it is time to.
func (o *output) progress(format string, args ...any) {
	if time.Since(o.shown) < o.every {
		return
	}
	o.shown = time.Now()
	if !o.terminal {
		fmt.Fprintf(o.w, format+"\n", args...)
		return
	}
	fmt.Fprintf(o.w, "\r"+format+"\x1b[K", args...)
	o.open = true
}

// end removes an unfinished line of progress.
func (o *output) end() {
	if o.open {
		fmt.Fprint(o.w, "\r\x1b[K")
		o.open = false
	}
}

// bar draws done of total.
func bar(done, total int64) string {
	const width = 20
	n := 0
	if total > 0 {
		n = int(min(done, total) * width / total)
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat(" ", width-n) + "]"
}

// tail keeps the end of what is added to it.
type tail []byte

const tailBytes = 4000

func (t *tail) add(line string) {
	*t = append(*t, line...)
	if over := len(*t) - tailBytes; over > 0 {
		*t = append(tail(nil), (*t)[over:]...)
	}
}
