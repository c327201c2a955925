package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jezek/xgb/xproto"
)

// pictures are those of a file, which the application shows one after the other, forth
// and back. They are pixmaps of the X server: to show one costs a copy there, so that a
// node measures its stream and not this program.
type pictures struct {
	all   []xproto.Pixmap
	at    int
	back  bool
	rest  time.Duration // at both ends
	until time.Time
}

// rowsAtOnce keeps a request below the core protocol's 256 KiB.
func rowsAtOnce(width int) int { return max((256<<10-64)/(4*width), 1) }

// loadPictures reads pictures of the window's size, BGRx without headers.
func (a *app) loadPictures(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open pictures: %w", err)
	}
	defer f.Close()
	data := make([]byte, 4*a.options.width*a.options.height)
	for {
		if _, err := io.ReadFull(f, data); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("read picture %d of %dx%d: %w", len(a.pictures.all), a.options.width, a.options.height, err)
		}
		p, err := a.upload(data)
		if err != nil {
			return fmt.Errorf("give picture %d to the display: %w", len(a.pictures.all), err)
		}
		a.pictures.all = append(a.pictures.all, p)
	}
	if len(a.pictures.all) == 0 {
		return fmt.Errorf("no picture in %s", file)
	}
	return nil
}

func (a *app) upload(data []byte) (xproto.Pixmap, error) {
	width, height := a.options.width, a.options.height
	p, err := xproto.NewPixmapId(a.conn)
	if err != nil {
		return 0, err
	}
	if err := xproto.CreatePixmapChecked(a.conn, a.screen.RootDepth, p, xproto.Drawable(a.screen.Root), uint16(width), uint16(height)).Check(); err != nil {
		return 0, err
	}
	for y, rows := 0, rowsAtOnce(width); y < height; y += rows {
		n := min(rows, height-y)
		err := xproto.PutImageChecked(a.conn, xproto.ImageFormatZPixmap, xproto.Drawable(p), a.gc, uint16(width), uint16(n), 0, int16(y), 0,
			a.screen.RootDepth, data[4*width*y:4*width*(y+n)]).Check()
		if err != nil {
			return 0, err
		}
	}
	return p, nil
}

// drawPicture shows the next picture, if it is time.
func (a *app) drawPicture(now time.Time) {
	p := &a.pictures
	if now.Before(p.until) {
		return
	}
	xproto.CopyArea(a.conn, xproto.Drawable(p.all[p.at]), xproto.Drawable(a.win), a.gc, 0, 0, 0, 0,
		uint16(a.options.width), uint16(a.options.height))
	last := len(p.all) - 1
	if p.at == last && !p.back || p.at == 0 && p.back {
		p.back, p.until = !p.back, now.Add(p.rest)
	}
	if p.back {
		p.at = max(p.at-1, 0)
	} else {
		p.at = min(p.at+1, last)
	}
}
