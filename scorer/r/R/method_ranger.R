# ranger: one thread, always. A probability forest's probabilities and their first maximum; a classification forest's
# class as the first maximum of its trees' votes (predict() draws at random among equals).

model_predict.ranger <- function(model, newdata, options) {
  ask <- function(...) stats::predict(model, data = newdata, num.threads = 1L, verbose = FALSE, ...)$predictions
  switch(model$treetype,
    Regression = as.vector(ask()),
    `Probability estimation` = {
      levels <- ranger_levels(model)
      class_and_probabilities(matrix(ask(), ncol = length(levels)), levels)
    },
    Classification = {
      levels <- ranger_levels(model)
      votes <- matrix(ask(predict.all = TRUE), nrow = nrow(newdata))
      counts <- vapply(seq_along(levels), function(code) rowSums(votes == code), numeric(nrow(newdata)))
      first_maximum(matrix(counts, ncol = length(levels)), levels)
    },
    abort("a ranger of type ", model$treetype, " has no answer of one value per row: give package_model(predict = ",
      "function(model, newdata) ...) that returns the values you want"
    )
  )
}

ranger_levels <- function(model) {
  model$forest$levels
}
