package display

import (
	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// atoms are the names of properties and messages, interned once.
type atoms struct {
	utf8String, wmState, wmProtocols, wmTakeFocus,
	wmDeleteWindow, netSupported, netSupportingWMCheck, netWMName,
	netClientList, netActiveWindow, netCloseWindow, netNumberOfDesktops,
	netCurrentDesktop, netDesktopGeometry, netWorkarea, netFrameExtents,
	netRequestFrameExtents, netWMDesktop, netWMState, netWMStateFullscreen,
	netWMStateMaximizedVert, netWMStateMaximizedHorz, netWMWindowType, netWMWindowTypeNormal,
	netWMWindowTypeDialog, netWMWindowTypeUtility, netWMWindowTypeToolbar, netWMWindowTypeMenu,
	netWMWindowTypeSplash, netWMWindowTypeNotification,
	xsettings, xsettingsManager, manager xproto.Atom
}

type atomName struct {
	name string
	atom *xproto.Atom
}

func (a *atoms) names() []atomName {
	return []atomName{
		{"UTF8_STRING", &a.utf8String},
		{"WM_STATE", &a.wmState},
		{"WM_PROTOCOLS", &a.wmProtocols},
		{"WM_TAKE_FOCUS", &a.wmTakeFocus},
		{"WM_DELETE_WINDOW", &a.wmDeleteWindow},
		{"_NET_SUPPORTED", &a.netSupported},
		{"_NET_SUPPORTING_WM_CHECK", &a.netSupportingWMCheck},
		{"_NET_WM_NAME", &a.netWMName},
		{"_NET_CLIENT_LIST", &a.netClientList},
		{"_NET_ACTIVE_WINDOW", &a.netActiveWindow},
		{"_NET_CLOSE_WINDOW", &a.netCloseWindow},
		{"_NET_NUMBER_OF_DESKTOPS", &a.netNumberOfDesktops},
		{"_NET_CURRENT_DESKTOP", &a.netCurrentDesktop},
		{"_NET_DESKTOP_GEOMETRY", &a.netDesktopGeometry},
		{"_NET_WORKAREA", &a.netWorkarea},
		{"_NET_FRAME_EXTENTS", &a.netFrameExtents},
		{"_NET_REQUEST_FRAME_EXTENTS", &a.netRequestFrameExtents},
		{"_NET_WM_DESKTOP", &a.netWMDesktop},
		{"_NET_WM_STATE", &a.netWMState},
		{"_NET_WM_STATE_FULLSCREEN", &a.netWMStateFullscreen},
		{"_NET_WM_STATE_MAXIMIZED_VERT", &a.netWMStateMaximizedVert},
		{"_NET_WM_STATE_MAXIMIZED_HORZ", &a.netWMStateMaximizedHorz},
		{"_NET_WM_WINDOW_TYPE", &a.netWMWindowType},
		{"_NET_WM_WINDOW_TYPE_NORMAL", &a.netWMWindowTypeNormal},
		{"_NET_WM_WINDOW_TYPE_DIALOG", &a.netWMWindowTypeDialog},
		{"_NET_WM_WINDOW_TYPE_UTILITY", &a.netWMWindowTypeUtility},
		{"_NET_WM_WINDOW_TYPE_TOOLBAR", &a.netWMWindowTypeToolbar},
		{"_NET_WM_WINDOW_TYPE_MENU", &a.netWMWindowTypeMenu},
		{"_NET_WM_WINDOW_TYPE_SPLASH", &a.netWMWindowTypeSplash},
		{"_NET_WM_WINDOW_TYPE_NOTIFICATION", &a.netWMWindowTypeNotification},
		{"_XSETTINGS_SETTINGS", &a.xsettings},
		{"_XSETTINGS_S0", &a.xsettingsManager},
		{"MANAGER", &a.manager},
	}
}

// internAtoms sends all requests before it reads the first reply.
func internAtoms(conn *xgb.Conn) (atoms, error) {
	var a atoms
	names := a.names()
	cookies := make([]xproto.InternAtomCookie, len(names))
	for i, n := range names {
		cookies[i] = xproto.InternAtom(conn, false, uint16(len(n.name)), n.name)
	}
	for i, n := range names {
		r, err := cookies[i].Reply()
		if err != nil {
			return atoms{}, err
		}
		*n.atom = r.Atom
	}
	return a, nil
}
