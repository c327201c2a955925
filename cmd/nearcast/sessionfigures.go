package main

import (
	"fmt"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

// figures are what a session is like, and was like so far, in rows of a table.
func figures(v wire.SessionView) (rows [][2]string) {
	if m := v.Measured; m != nil {
		trip := fmt.Sprintf("%.0f ms", m.RTTMS)
		if v.Quality != nil {
			trip += fmt.Sprintf("; so far %.0f ms, p95 %.0f ms", v.Quality.RTTMS, v.Quality.RTTP95MS)
		}
		encoder := "encoder"
		if m.Encoder != "" {
			encoder = strings.TrimSpace(m.Encoder + " " + m.Preset)
		}
		picture := fmt.Sprintf("%d×%d, %.0f a second, %.0f of them changed by the app", m.Width, m.Height, m.FPS, m.Paints)
		if m.Page != nil {
			picture += fmt.Sprintf(", %.0f decoded by the browser", m.Page.FPS)
		}
		rows = append(rows,
			[2]string{"measured", ago(m.At) + " ago"},
			[2]string{"round trip", trip},
			[2]string{"picture", picture},
			[2]string{"bitrate", fmt.Sprintf("%.1f Mbit/s, of %.1f that the network takes", m.BitrateKbps/1000, m.TargetKbps/1000)},
			[2]string{"lost", fmt.Sprintf("%.1f %% of the packets", 100*m.Loss)},
			[2]string{"takes", fmt.Sprintf("capture %.1f ms, %s %.1f ms, wait in the network %.1f ms, input %.1f ms", m.CaptureMS, encoder, m.EncodeMS, m.QueueMS, m.InjectMS)})
	}
	if q := v.Quality; q != nil {
		rows = append(rows, [2]string{"frozen", fmt.Sprintf("%.1f s of %.0f s, as the page says", q.FrozenS, q.DurationS)})
	}
	return rows
}
