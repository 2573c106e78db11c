package broadworks

import "maps"

// Defaults are the access codes.
func Defaults() map[Feature]string { return maps.Clone(defaults) }
