package wire

// NetworkPath is where a brain says to everybody what a network must let through for its
// site: GET gives a Network. Pages of all origins may read it.
const NetworkPath = "/v1/network"

// Network is what a page needs to find out what a person's network lets through to a site.
type Network struct {
	Site string `json:"site"`
	// ICEServers are the site's TURN servers, each with one URL. Their credentials are good
	// for a minute, and for relays that carry nothing.
	ICEServers []ICEServer `json:"ice_servers"`
	// MediaPorts are the ports at which seats take media by UDP and TCP, such as
	// "20000-20999". The addresses are those of the nodes, which come and go.
	MediaPorts []string `json:"media_ports"`
}
