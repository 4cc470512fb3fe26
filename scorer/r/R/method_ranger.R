# ranger: one thread, always. A probability forest's probabilities and their first maximum; a classification forest's
# class as the first maximum of its trees' votes (predict() draws at random among equals).

model_predict.ranger <- function(model, newdata, options) {
  ask <- function(...) stats::predict(model, data = newdata, num.threads = 1L, verbose = FALSE, ...)$predictions
  switch(model$treetype,
    Regression = as.vector(ask()),
    `Probability estimation` = {
      probabilities <- ask()
      class_and_probabilities(unname(probabilities), ranger_levels(model, colnames(probabilities)))
    },
    Classification = ranger_class(matrix(ask(predict.all = TRUE), nrow = nrow(newdata)), model$forest),
    abort("a ranger of type ", model$treetype, " has no answer of one value per row: give package_model(predict = ",
      "function(model, newdata) ...) that returns the values you want"
    )
  )
}

model_inputs.ranger <- function(model) {
  model$forest$independent.variable.names
}

model_packages.ranger <- function(model) {
  "ranger"
}

#' The columns' names; a forest grown on numbers has none, its classes are the numbers in order.
#' @noRd
ranger_levels <- function(model, labels) {
  if (is.null(labels)) as.character(sort(model$forest$class.values)) else labels
}

#' The class most trees voted for; votes are level codes, or the class itself for a forest grown on numbers.
#' @noRd
ranger_class <- function(votes, forest) {
  levels <- forest$levels
  codes <- if (is.null(levels)) sort(forest$class.values) else seq_along(levels)
  counts <- vapply(codes, function(code) rowSums(votes == code), numeric(nrow(votes)))
  winner <- max.col(matrix(counts, ncol = length(codes)), "first")
  if (is.null(levels)) codes[winner] else factor(levels[winner], levels = levels)
}

model_options.ranger <- function(model, options) {
  refuse_options(options, "a ranger answers its value, or its class or probabilities")
}

#' ranger turns text into codes by the levels of the rows it is given, silently: text is taken only where the forest
#' kept the levels it was grown with.
#' @noRd
model_levels.ranger <- function(model, sample) {
  known <- Filter(is.character, as.list(model$forest$covariate.levels))
  text <- names(sample)[vapply(sample, is.character, NA)]
  unsafe <- setdiff(intersect(text, model_inputs(model)), names(known))
  if (length(unsafe) > 0L) {
    abort("ranger was given text in ", quoted(unsafe), " and would read it by the levels of each request, answering ",
      "another number silently: fit the forest on factors, and give the sample with them (for a CSV file: ",
      "--type ", unsafe[1L], "=factor, if the levels of the fit are in the order of their characters' codes)"
    )
  }
  known
}

model_slim.ranger <- function(model) {
  drop_parts(model, c("predictions", "inbag.counts", "confusion.matrix"))
}
