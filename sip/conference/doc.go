// Package conference merges calls of a user: everyone hears everyone else.
//
//	conf, err := conference.Merge(ctx, &conference.Config{NewMixer: engine.NewMixer}, a, b)
//	err = conf.Add(ctx, c)
//	calls, err := conf.Split(ctx)
//
// There are two places for it. On the device the offeranswer.Mixer of its media
// mixes, and nothing is said to those who are merged: each has a call with this
// user as before. On the network a server mixes (RFC 4579), where the account has
// a conference factory:
//
//	cfg := &conference.Config{Factory: "conference", NewMixer: engine.NewMixer}
//	conf, err := conference.Merge(ctx, cfg, a, b)
//
// Then the calls move to the server and end here, and the user has one call with
// it, [Conference.Call]. Who takes part is what the server tells (RFC 4575). With
// both in its Config, Merge takes the network and falls back to the device.
//
//	                device                          network
//	Add             mixed, resumed                  REFER with Replaces
//	Remove          BYE                             REFER with method=BYE
//	Mute            mixer                           ErrUnsupported
//	Split           single calls                    ErrUnsupported
//	Leave           two: attended transfer          BYE
//	                more: moved to the factory
//	Close           BYE to all                      BYE
package conference
