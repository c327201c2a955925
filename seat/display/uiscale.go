package display

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/jezek/xgb/xproto"
)

// Toolkits learn from two places how large to draw: the resource Xft.dpi of the root
// window (Qt, and what uses Xft), and the settings of XSETTINGS (GTK), which a manager
// publishes on a window of its own. Both can change while an application runs.

// setScale publishes a UI scale. Fractions are for text; GTK's widgets grow by whole steps.
func (m *manager) setScale(scale float64) {
	scale = min(max(scale, 1), maxScale)
	if scale == m.scale {
		return
	}
	m.scale = scale
	resources := fmt.Sprintf("Xft.dpi:\t%d\n", density(scale))
	xproto.ChangeProperty(m.conn, xproto.PropModeReplace, m.root, xproto.AtomResourceManager, xproto.AtomString, 8,
		uint32(len(resources)), []byte(resources))
	m.serial++
	settings := xsettings(m.serial, scale)
	xproto.ChangeProperty(m.conn, xproto.PropModeReplace, m.check, m.atoms.xsettings, m.atoms.xsettings, 8,
		uint32(len(settings)), settings)
}

// maxScale is more than any display has.
const maxScale = 8

// ownSettings makes the check window the manager of XSETTINGS. Applications that run
// already look for one when they hear of it.
func (m *manager) ownSettings() {
	xproto.SetSelectionOwner(m.conn, m.check, m.atoms.xsettingsManager, xproto.TimeCurrentTime)
	e := xproto.ClientMessageEvent{Format: 32, Window: m.root, Type: m.atoms.manager,
		Data: xproto.ClientMessageDataUnionData32New([]uint32{xproto.TimeCurrentTime, uint32(m.atoms.xsettingsManager), uint32(m.check), 0, 0})}
	xproto.SendEvent(m.conn, false, m.root, xproto.EventMaskStructureNotify, string(e.Bytes()))
}

// xsettings is the property that the specification of XSETTINGS defines.
func xsettings(serial uint32, scale float64) []byte {
	whole := math.Floor(scale)
	list := []struct {
		name  string
		value int
	}{
		{"Gdk/UnscaledDPI", int(1024 * dpi * scale / whole)},
		{"Gdk/WindowScalingFactor", int(whole)},
		{"Xft/DPI", int(1024 * dpi * scale)},
	}
	b := []byte{0, 0, 0, 0} // little-endian
	b = binary.LittleEndian.AppendUint32(b, serial)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	for _, s := range list {
		const integer = 0
		b = append(b, integer, 0)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(s.name)))
		b = append(b, s.name...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		b = binary.LittleEndian.AppendUint32(b, serial)
		b = binary.LittleEndian.AppendUint32(b, uint32(int32(s.value)))
	}
	return b
}
