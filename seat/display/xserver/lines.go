package xserver

import (
	"io"
	"strings"
)

// lineWriter calls line with each whole line.
type lineWriter struct {
	line func(string)
	rest []byte
}

var _ io.Writer = (*lineWriter)(nil)

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		i := strings.IndexByte(string(w.rest), '\n')
		if i < 0 {
			if len(w.rest) > 4096 {
				w.rest = w.rest[:0]
			}
			return len(b), nil
		}
		if line := strings.TrimSpace(string(w.rest[:i])); line != "" {
			w.line(line)
		}
		w.rest = w.rest[i+1:]
	}
}
