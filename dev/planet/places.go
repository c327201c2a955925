package planet

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// coordinates are degrees north and east.
type coordinates struct{ lat, lon float64 }

// awsRegions are the sites that a planet may have, in the order of the rows below. The
// index of a region gives its network, 198.18.<index+1>.0/24: it has the same addresses
// on each planet.
var awsRegions = []struct {
	name string
	at   coordinates
	// residency is the jurisdictions that it is in, as its brains publish them.
	residency string
}{
	{"us-east-1", coordinates{38.9, -77.4}, "us"},       // Northern Virginia
	{"us-west-2", coordinates{45.8, -119.7}, "us"},      // Oregon
	{"eu-west-1", coordinates{53.3, -6.3}, "eu,ie"},     // Dublin
	{"eu-central-1", coordinates{50.1, 8.7}, "eu,de"},   // Frankfurt
	{"ap-northeast-1", coordinates{35.6, 139.7}, "jp"},  // Tokyo
	{"ap-southeast-1", coordinates{1.3, 103.8}, "sg"},   // Singapore
	{"ap-south-1", coordinates{19.1, 72.9}, "in"},       // Mumbai
	{"sa-east-1", coordinates{-23.5, -46.6}, "br"},      // São Paulo
	{"ap-southeast-2", coordinates{-33.9, 151.2}, "au"}, // Sydney
	{"af-south-1", coordinates{-33.9, 18.4}, "za"},      // Cape Town
}

// awsRTT are round trips between regions in ms. A row lacks the pairs that are in the
// rows above it. They are medians over a year as published by cloudping.co (MIT, Matt
// Adorjan), which opens TCP connections between Lambda functions in all regions. They
// are rounded, and are the mean of both directions.
var awsRTT = [][]float64{
	//       usw2 euw1 euc1 ne1  se1  s1   sa1  se2  af1
	/*use1*/ {64, 70, 93, 150, 219, 191, 115, 200, 227},
	/*usw2*/ {118, 143, 98, 161, 222, 175, 141, 274},
	/*euw1*/ {27, 202, 179, 126, 178, 256, 159},
	/*euc1*/ {227, 161, 129, 205, 251, 155},
	/*ne1*/ {71, 134, 259, 106, 357},
	/*se1*/ {64, 328, 95, 315},
	/*s1*/ {301, 155, 273},
	/*sa1*/ {312, 338},
	/*se2*/ {409},
}

// places are where the person may sit.
var places = map[string]coordinates{
	"amsterdam":     {52.4, 4.9},
	"buenos-aires":  {-34.6, -58.4},
	"cairo":         {30.0, 31.2},
	"chicago":       {41.9, -87.6},
	"dublin":        {53.3, -6.3},
	"frankfurt":     {50.1, 8.7},
	"johannesburg":  {-26.2, 28.0},
	"lagos":         {6.5, 3.4},
	"london":        {51.5, -0.1},
	"mexico-city":   {19.4, -99.1},
	"mumbai":        {19.1, 72.9},
	"new-york":      {40.7, -74.0},
	"paris":         {48.9, 2.4},
	"san-francisco": {37.8, -122.4},
	"sao-paulo":     {-23.5, -46.6},
	"seoul":         {37.6, 127.0},
	"singapore":     {1.3, 103.8},
	"sydney":        {-33.9, 151.2},
	"tokyo":         {35.7, 139.7},
	"warsaw":        {52.2, 21.0},
}

// Places are the names that Locate knows, sorted.
func Places() []string { return slices.Sorted(maps.Keys(places)) }

// Regions are the sites that a planet may have.
func Regions() (names []string) {
	for _, r := range awsRegions {
		names = append(names, r.name)
	}
	return names
}

func regionIndex(name string) int { return slices.Index(Regions(), name) }

// siteRTT is the round trip between two regions.
func siteRTT(a, b string) time.Duration {
	i, j := regionIndex(a), regionIndex(b)
	if i > j {
		i, j = j, i
	}
	return milliseconds(awsRTT[i][j-i-1])
}

// findPlace finds a place by its name, or by "latitude,longitude" in degrees.
func findPlace(name string) (coordinates, error) {
	if at, ok := places[name]; ok {
		return at, nil
	}
	if north, east, ok := strings.Cut(name, ","); ok {
		lat, err1 := strconv.ParseFloat(strings.TrimSpace(north), 64)
		lon, err2 := strconv.ParseFloat(strings.TrimSpace(east), 64)
		if err1 == nil && err2 == nil && math.Abs(lat) <= 90 && math.Abs(lon) <= 180 {
			return coordinates{lat, lon}, nil
		}
	}
	return coordinates{}, fmt.Errorf("no place %q; there are: %s, or give latitude,longitude in degrees", name, strings.Join(Places(), ", "))
}

// lastMile is the round trip between a home and the first router of its provider: a
// usual figure for cable and DSL, more than that of fibre and less than that of a phone.
const lastMile = 8 * time.Millisecond

// personRTT is the round trip between a person at a place and a region: the last mile,
// and a cable that is as indirect as the measured one between that region and the region
// nearest to the person. From Tokyo to Dublin the great circle leads over the Arctic, and
// no cable does.
func personRTT(at coordinates, site string) time.Duration {
	to, hub := awsRegions[regionIndex(site)], nearestRegion(at)
	indirect := 1.0
	if from := awsRegions[hub]; from.name != site {
		indirect = max(1, float64(siteRTT(from.name, site))/float64(cable(from.at, to.at)))
	}
	rtt := lastMile + time.Duration(indirect*float64(cable(at, to.at)))
	return rtt.Round(100 * time.Microsecond)
}

func nearestRegion(at coordinates) (nearest int) {
	for i, r := range awsRegions {
		if distance(at, r.at) < distance(at, awsRegions[nearest].at) {
			nearest = i
		}
	}
	return nearest
}

// cable is the round trip along a cable between two places. Cables are longer than great
// circles, and light in glass takes 5 µs per km. Both follow ITU-T Y.1541, Appendix III:
// 1.5 times the distance below 1000 km, 1.25 times above 1200 km, 1500 km in between.
func cable(a, b coordinates) time.Duration {
	d := distance(a, b)
	route := 1.25 * d
	switch {
	case d < 1000:
		route = 1.5 * d
	case d < 1200:
		route = 1500
	}
	return time.Duration(2 * route * 5 * float64(time.Microsecond))
}

// distance is the great-circle distance between two places in km (haversine formula).
func distance(a, b coordinates) float64 {
	const earth, degree = 6371, math.Pi / 180
	hav := func(x float64) float64 { return (1 - math.Cos(x)) / 2 }
	h := hav((a.lat-b.lat)*degree) + math.Cos(a.lat*degree)*math.Cos(b.lat*degree)*hav((a.lon-b.lon)*degree)
	return 2 * earth * math.Asin(math.Sqrt(min(1, h)))
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
