// Package sipwire is the wire form of SIP: bytes to messages and back, frames
// out of a stream, and the reading of header fields that sipgo has no type for.
//
// Messages are sipgo's types. What [Parse] puts into them follows these rules:
//
//   - A header field has its full name, whatever form it came in.
//   - Via, From, To, Call-ID, CSeq, Contact, Max-Forwards, Content-Type and
//     Content-Length have sipgo's types; all others are generic headers.
//     Contact, Via, Route and Record-Route lists are split, one header each.
//     A Route or Record-Route stays text, because its parameters have to be
//     mirrored and sipgo's types have no place for them.
//   - DisplayName is plain text: quotes and escapes are gone, and [Append]
//     puts them back.
//   - A parameter has the name and value of the wire, quotes included.
//     [Param] finds one by name and takes the quotes away.
//   - Text may share memory with the whole message. Who keeps a part for
//     long clones it.
//
// Header fields are shared between a request and what is derived from it
// (responses, ACK, CANCEL). They are never changed in place, only replaced.
package sipwire
