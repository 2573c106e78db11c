package siptest

import "time"

// Left is how much there is in the lab that belongs to calls: dialogs,
// transactions and timers.
func (s *Server) Left() (legs, transactions, timers int) {
	_ = s.run(func(l *life, _ time.Time) {
		clients, servers := l.ep.Table.Len()
		legs, transactions, timers = len(l.legs), clients+servers, l.ep.Q.Len()
		legs += len(l.referrals) + len(l.parked) + len(l.conferences) + l.reports + l.instants
	})
	return legs, transactions, timers
}
