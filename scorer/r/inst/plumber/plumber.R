# Wires a worker's routes; the ideas are in R/plumber.R.

#* @post /predict
function(req, res) answer_predict(predict_frame, req, res)

#* @get /ping
function(res) answer_ping(tidy, res)
