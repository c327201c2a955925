package sizing

import (
	"testing"
	"time"
	_ "time/tzdata"
)

// Windows open once on the days on which the clock is put on or back, also where it leaves their hour out.
func TestScheduleWhenTheClockChanges(t *testing.T) {
	for _, c := range []struct {
		window string
		at     string // UTC
		open   bool
	}{
		// In Berlin, 2:00 to 3:00 of 2027-03-28 is left out.
		{"0 2 * * * 20h 9 Europe/Berlin", "2027-03-28T00:59:00Z", false},
		{"0 2 * * * 20h 9 Europe/Berlin", "2027-03-28T01:00:00Z", true},
		{"0 2 * * * 20h 9 Europe/Berlin", "2027-03-28T20:59:00Z", true},
		{"0 2 * * * 20h 9 Europe/Berlin", "2027-03-28T21:00:00Z", false},
		{"30 2 * * * 1h 9 Europe/Berlin", "2027-03-28T01:29:00Z", false},
		{"30 2 * * * 1h 9 Europe/Berlin", "2027-03-28T01:30:00Z", true},
		{"0 4 * * * 1h 9 Europe/Berlin", "2027-03-28T01:59:00Z", false},
		{"0 4 * * * 1h 9 Europe/Berlin", "2027-03-28T02:00:00Z", true},
		{"0 2 28 3 * 1h 9 Europe/Berlin", "2027-03-28T01:30:00Z", true},
		// On 2027-10-31 it shows 2:00 to 3:00 twice.
		{"0 2 * * * 1h 9 Europe/Berlin", "2027-10-30T23:59:00Z", false},
		{"0 2 * * * 1h 9 Europe/Berlin", "2027-10-31T00:00:00Z", true},
		{"0 2 * * * 1h 9 Europe/Berlin", "2027-10-31T01:00:00Z", false},
		{"0 4 * * * 1h 9 Europe/Berlin", "2027-10-31T03:00:00Z", true},
		// Over midnight, in a night of seven hours.
		{"0 22 * * 6 8h 9 Europe/Berlin", "2027-03-27T20:59:00Z", false},
		{"0 22 * * 6 8h 9 Europe/Berlin", "2027-03-27T21:00:00Z", true},
		{"0 22 * * 6 8h 9 Europe/Berlin", "2027-03-28T04:59:00Z", true},
		{"0 22 * * 6 8h 9 Europe/Berlin", "2027-03-28T05:00:00Z", false},
		// In Santiago, 2026-09-06 begins at 1:00.
		{"0 0 * * * 24h 9 America/Santiago", "2026-09-06T03:59:00Z", true},
		{"0 0 * * * 24h 9 America/Santiago", "2026-09-06T04:00:00Z", true},
		{"0 0 * * * 24h 9 America/Santiago", "2026-09-06T20:00:00Z", true},
		// Every minute, for the longest time.
		{"* * * * * 168h 9", "2027-03-28T00:00:00Z", true},
	} {
		s, err := ParseSchedule(c.window)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := s.seats(at, 0); (n == 9) != c.open {
			t.Errorf("%s at %s: open is %t", c.window, c.at, !c.open)
		}
	}
}
