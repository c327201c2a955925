package planet

import (
	"math"
	"testing"
	"time"
)

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b coordinates
		km   float64
	}{
		{places["frankfurt"], places["tokyo"], 9370},
		{places["new-york"], places["london"], 5570},
		{places["sydney"], places["sydney"], 0},
		{coordinates{0, 179}, coordinates{0, -179}, 222},
		{coordinates{90, 0}, coordinates{-90, 120}, 20015},
	} {
		if got := distance(tt.a, tt.b); math.Abs(got-tt.km) > 10+tt.km/100 {
			t.Errorf("%v to %v: %.0f km, want %.0f", tt.a, tt.b, got, tt.km)
		}
	}
}

func TestSiteRTT(t *testing.T) {
	regions := Regions()
	if len(awsRTT) != len(regions)-1 {
		t.Fatalf("%d rows for %d regions", len(awsRTT), len(regions))
	}
	for i, row := range awsRTT {
		if len(row) != len(regions)-1-i {
			t.Errorf("%s has %d pairs", regions[i], len(row))
		}
	}
	for _, a := range awsRegions {
		for _, b := range awsRegions {
			if a.name == b.name {
				continue
			}
			rtt := siteRTT(a.name, b.name)
			if rtt != siteRTT(b.name, a.name) {
				t.Errorf("%s to %s is not what it is back", a.name, b.name)
			}
			// No cable is shorter than the great circle; those around Africa are long.
			if light := milliseconds(distance(a.at, b.at) / 100); rtt < light || rtt > 6*light+20*time.Millisecond {
				t.Errorf("%s to %s: %s, and light takes %s", a.name, b.name, rtt, light)
			}
		}
	}
}

// The person is nearest to the region one would expect.
func TestPersonRTT(t *testing.T) {
	for name, want := range map[string]string{
		"frankfurt": "eu-central-1", "tokyo": "ap-northeast-1", "new-york": "us-east-1", "sao-paulo": "sa-east-1",
		"sydney": "ap-southeast-2", "mumbai": "ap-south-1", "johannesburg": "af-south-1", "san-francisco": "us-west-2",
		"london": "eu-west-1", "singapore": "ap-southeast-1", "-33.9, 18.4": "af-south-1",
	} {
		at, err := findPlace(name)
		if err != nil {
			t.Fatal(err)
		}
		nearest := ""
		for _, site := range Regions() {
			if nearest == "" || personRTT(at, site) < personRTT(at, nearest) {
				nearest = site
			}
		}
		if rtt := personRTT(at, nearest); nearest != want || rtt < lastMile || rtt > 30*time.Millisecond {
			t.Errorf("%s is nearest to %s (%s), want %s", name, nearest, rtt, want)
		}
	}
	tokyo, frankfurt := places["tokyo"], places["frankfurt"]
	if e, w := personRTT(tokyo, "eu-west-1"), personRTT(tokyo, "us-east-1"); e <= w {
		t.Errorf("from Tokyo it is %s to Dublin and %s to Virginia: cables do not lead over the Arctic", e, w)
	}
	if a, b := personRTT(frankfurt, "ap-northeast-1"), siteRTT("eu-central-1", "ap-northeast-1")+lastMile; (a - b).Abs() > 5*time.Millisecond {
		t.Errorf("from Frankfurt it is %s to Tokyo, and %s by way of the region in Frankfurt", a, b)
	}
	for _, name := range []string{"", "atlantis", "91,0", "0,181", "NaN,0", "1,2,3"} {
		if _, err := findPlace(name); err == nil {
			t.Errorf("%q is a place", name)
		}
	}
}
