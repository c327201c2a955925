package driver

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

// The least size of a display that follows the window, where the job does not say it:
// that of a small phone.
const (
	defaultMinWidth  = 320
	defaultMinHeight = 240
)

// maxUIScale is more than any device has.
const maxUIScale = 4

// follow reads whether the display follows the person's window, and how large the app
// draws. Both limits hold in portrait too, so a display that follows may be as high as
// it is wide.
func (c DisplayConfig) follow(d *wire.Display) error {
	var errs []error
	if c.Min != "" || c.Max != "" {
		d.MinWidth, d.MinHeight, d.MaxWidth, d.MaxHeight = min(defaultMinWidth, d.Width), min(defaultMinHeight, d.Height), d.Width, d.Height
		read := func(field, value string, width, height *int) {
			if value == "" {
				return
			}
			w, h, err := sides(field, value)
			if err != nil {
				errs = append(errs, err)
				return
			}
			*width, *height = w, h
		}
		read("display.min", c.Min, &d.MinWidth, &d.MinHeight)
		read("display.max", c.Max, &d.MaxWidth, &d.MaxHeight)
		switch {
		case len(errs) > 0:
		case d.MinWidth > d.Width || d.MinHeight > d.Height:
			errs = append(errs, &badValue{"display.min", c.Min, fmt.Sprintf("a size within display.width and height, %dx%d", d.Width, d.Height)})
		case d.MaxWidth < d.Width || d.MaxHeight < d.Height:
			errs = append(errs, &badValue{"display.max", c.Max, fmt.Sprintf("a size that has room for display.width and height, %dx%d", d.Width, d.Height)})
		}
	}
	if c.Scale != "auto" && c.Scale != "" {
		scale, err := strconv.ParseFloat(c.Scale, 64)
		if err != nil || !(scale >= 1 && scale <= maxUIScale) {
			errs = append(errs, &badValue{"display.scale", c.Scale, fmt.Sprintf(`"auto", or a number from 1 to %d`, maxUIScale)})
		}
		d.Scale = scale
	}
	return errors.Join(errs...)
}

// sides reads "1280x720".
func sides(field, value string) (width, height int, err error) {
	w, h, ok := strings.Cut(value, "x")
	wn, errW := strconv.Atoi(w)
	hn, errH := strconv.Atoi(h)
	if ok && errW == nil && errH == nil {
		if width, errW = side(field, float64(wn)); errW == nil {
			height, errH = side(field, float64(hn))
		}
	}
	if !ok || errW != nil || errH != nil {
		return 0, 0, &badValue{field, value, `two even numbers from 64 to 4096, such as "1920x1080"`}
	}
	return width, height, nil
}
