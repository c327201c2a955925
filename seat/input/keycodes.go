package input

import "github.com/jezek/xgb/xproto"

// Keys that the code uses by name.
const (
	capsLock   xproto.Keycode = 66
	numLock    xproto.Keycode = 77
	levelThree xproto.Keycode = 92 // ISO_Level3_Shift; real keyboards of this model do not have it
)

// places maps KeyboardEvent.code, a position on the keyboard, to the X keycode:
// the Linux key code plus eight, as every X server on Linux has it.
var places = map[string]xproto.Keycode{
	"Escape": 9,
	"Digit1": 10, "Digit2": 11, "Digit3": 12, "Digit4": 13, "Digit5": 14,
	"Digit6": 15, "Digit7": 16, "Digit8": 17, "Digit9": 18, "Digit0": 19,
	"Minus": 20, "Equal": 21, "Backspace": 22,

	"Tab": 23, "KeyQ": 24, "KeyW": 25, "KeyE": 26, "KeyR": 27, "KeyT": 28, "KeyY": 29,
	"KeyU": 30, "KeyI": 31, "KeyO": 32, "KeyP": 33, "BracketLeft": 34, "BracketRight": 35, "Enter": 36,

	"ControlLeft": 37, "KeyA": 38, "KeyS": 39, "KeyD": 40, "KeyF": 41, "KeyG": 42, "KeyH": 43,
	"KeyJ": 44, "KeyK": 45, "KeyL": 46, "Semicolon": 47, "Quote": 48, "Backquote": 49,

	"ShiftLeft": 50, "Backslash": 51, "KeyZ": 52, "KeyX": 53, "KeyC": 54, "KeyV": 55, "KeyB": 56,
	"KeyN": 57, "KeyM": 58, "Comma": 59, "Period": 60, "Slash": 61, "ShiftRight": 62,

	"AltLeft": 64, "Space": 65, "CapsLock": capsLock,
	"ControlRight": 105, "AltRight": 108, "MetaLeft": 133, "MetaRight": 134, "ContextMenu": 135,
	"OSLeft": 133, "OSRight": 134, // older names

	"F1": 67, "F2": 68, "F3": 69, "F4": 70, "F5": 71, "F6": 72, "F7": 73, "F8": 74, "F9": 75, "F10": 76,
	"F11": 95, "F12": 96, "F13": 191, "F14": 192, "F15": 193, "F16": 194, "F17": 195, "F18": 196,
	"F19": 197, "F20": 198, "F21": 199, "F22": 200, "F23": 201, "F24": 202,

	"NumLock": numLock, "ScrollLock": 78, "PrintScreen": 107, "Pause": 127,
	"Numpad7": 79, "Numpad8": 80, "Numpad9": 81, "NumpadSubtract": 82,
	"Numpad4": 83, "Numpad5": 84, "Numpad6": 85, "NumpadAdd": 86,
	"Numpad1": 87, "Numpad2": 88, "Numpad3": 89, "Numpad0": 90, "NumpadDecimal": 91,
	"NumpadMultiply": 63, "NumpadEnter": 104, "NumpadDivide": 106, "NumpadEqual": 125, "NumpadComma": 129,

	"Home": 110, "ArrowUp": 111, "PageUp": 112, "ArrowLeft": 113, "ArrowRight": 114,
	"End": 115, "ArrowDown": 116, "PageDown": 117, "Insert": 118, "Delete": 119,

	"IntlBackslash": 94, "IntlRo": 97, "IntlYen": 132, "KanaMode": 101, "Convert": 100, "NonConvert": 102,
	"Lang1": 130, "Lang2": 131, "Lang3": 98, "Lang4": 99, "Lang5": 93,

	"Again": 137, "Undo": 139, "Select": 140, "Copy": 141, "Open": 142, "Paste": 143,
	"Find": 144, "Cut": 145, "Help": 146,
}

// named maps KeyboardEvent.key to a code, for keys that come without a code.
var named = map[string]string{
	"Enter": "Enter", "Tab": "Tab", "Escape": "Escape", "Backspace": "Backspace", "Delete": "Delete",
	"Insert": "Insert", "Home": "Home", "End": "End", "PageUp": "PageUp", "PageDown": "PageDown",
	"ArrowUp": "ArrowUp", "ArrowDown": "ArrowDown", "ArrowLeft": "ArrowLeft", "ArrowRight": "ArrowRight",
	"Shift": "ShiftLeft", "Control": "ControlLeft", "Alt": "AltLeft", "Meta": "MetaLeft", "OS": "MetaLeft",
	"CapsLock": "CapsLock", "NumLock": "NumLock", "ScrollLock": "ScrollLock",
	"ContextMenu": "ContextMenu", "Pause": "Pause", "PrintScreen": "PrintScreen", "Help": "Help",
	"F1": "F1", "F2": "F2", "F3": "F3", "F4": "F4", "F5": "F5", "F6": "F6",
	"F7": "F7", "F8": "F8", "F9": "F9", "F10": "F10", "F11": "F11", "F12": "F12",
	"F13": "F13", "F14": "F14", "F15": "F15", "F16": "F16", "F17": "F17", "F18": "F18",
	"F19": "F19", "F20": "F20", "F21": "F21", "F22": "F22", "F23": "F23", "F24": "F24",
}

// isKeypad reports whether a key is on the numeric keypad.
func isKeypad(code xproto.Keycode) bool {
	return code >= 79 && code <= 91 || code == 63 || code == 106 || code == 125 || code == 129
}

// navigates reports whether a key of the numeric keypad is a navigation key without
// Num Lock.
func navigates(code xproto.Keycode) bool {
	return code >= 79 && code <= 91 && code != 82 && code != 86
}
