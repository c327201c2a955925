package seat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"net/http"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// look asks the seat for a still, as a brain.
func (r *rig) look(session string, role wire.ConsoleRole) (status int, out wire.Still) {
	r.t.Helper()
	body, _ := json.Marshal(wire.StillRequest{Session: session, Role: role})
	res, err := r.client(r.brain).Post(fmt.Sprintf("https://%s%s", r.address, wire.SeatStillPath), "application/json", bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
			r.t.Fatal(err)
		}
	}
	return res.StatusCode, out
}

func stillOf(width, height int) *image.RGBA {
	p := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range p.Pix {
		p.Pix[i] = 200
	}
	return p
}

// TestStill: the job says who may look, the person is told of each still, and there is one each
// wire.StillEvery.
func TestStill(t *testing.T) {
	for stills, may := range map[string][]wire.ConsoleRole{
		"": nil, "all": nil, wire.StillsOperator: {wire.RoleOperator, wire.RoleAdmin}, wire.StillsAdmin: {wire.RoleAdmin},
	} {
		for _, role := range []wire.ConsoleRole{"", wire.RoleViewer, wire.RoleOperator, wire.RoleAdmin} {
			want := http.StatusForbidden
			for _, one := range may {
				if role == one {
					want = http.StatusOK
				}
			}
			t.Run(fmt.Sprintf("stills %q as %q", stills, role), func(t *testing.T) {
				r := newRigWith(t, func(r *rig) { r.spec.Stills = stills }).idle()
				r.video.still.Store(stillOf(64, 36))
				conn, _, grant := r.play()
				if grant.Stills != (len(may) > 0) || r.seats.last().Stills != stills {
					t.Errorf("the grant says %v, the record %q", grant.Stills, r.seats.last().Stills)
				}
				status, got := r.look(grant.Session, role)
				if status != want {
					t.Fatalf("status %d, want %d", status, want)
				}
				if want != http.StatusOK {
					if r.video.count("still") > 0 {
						t.Error("a still was made all the same")
					}
					return
				}
				r.expect(conn, wire.MsgLooked)
				if size, err := jpeg.DecodeConfig(bytes.NewReader(got.JPEG)); err != nil || size.Width != 64 || size.Height != 36 || got.Width != 64 || got.Height != 36 || got.Session != grant.Session || time.Since(got.At) > time.Minute {
					t.Errorf("%+v is no still: %v, %v", got, size, err)
				}
				if status, _ := r.look(grant.Session, role); status != http.StatusTooManyRequests {
					t.Errorf("another one at once: %d", status)
				}
			})
		}
	}
}

func TestNoStill(t *testing.T) {
	r := newRigWith(t, func(r *rig) { r.spec.Stills = wire.StillsOperator }).idle()
	r.video.still.Store(stillOf(64, 36))
	if status, _ := r.look(ticket.NewSession(), wire.RoleAdmin); status != http.StatusForbidden {
		t.Errorf("of an idle seat: %d", status)
	}
	conn, _, grant := r.play()
	if status, _ := r.look(ticket.NewSession(), wire.RoleAdmin); status != http.StatusForbidden {
		t.Errorf("of another session: %d", status)
	}
	if r.video.count("still") > 0 {
		t.Fatal("a still was made")
	}
	// Nothing is captured: the question ends in time.
	r.video.still.Store(nil)
	begin := time.Now()
	if status, _ := r.look(grant.Session, wire.RoleAdmin); status != http.StatusConflict || time.Since(begin) > wire.StillWithin+2*time.Second {
		t.Errorf("without a picture: %d after %v", status, time.Since(begin))
	}
	// A person whose page cannot be told is not looked at.
	r.video.still.Store(stillOf(64, 36))
	conn.CloseNow()
	r.wait("the attachment is gone", func() bool {
		before := r.video.count("still")
		status, _ := r.look(grant.Session, wire.RoleAdmin)
		return status == http.StatusConflict && r.video.count("still") == before
	})
}
