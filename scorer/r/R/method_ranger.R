# ranger: one thread, always. A probability forest's probabilities and their first maximum; a classification forest's
# class as the first maximum of its trees' votes (predict() draws at random among equals).
#
# predict() copies the forest it is given into C++, twice, on every call. A large one is therefore asked a part of its
# trees at a time, and their answers are added in the order in which predict() adds them: the same to the last bit, in a
# fraction of the memory and, since that memory is used again and again, in about half the time.

model_predict.ranger <- function(model, newdata, options) {
  switch(model$treetype,
    Regression = as.vector(ranger_mean(model, newdata)),
    `Probability estimation` = {
      probabilities <- ranger_mean(model, newdata)
      class_and_probabilities(unname(probabilities), ranger_levels(model, colnames(probabilities)))
    },
    Classification = ranger_class(ranger_votes(model, newdata), model$forest),
    abort("a ranger of type ", model$treetype, " has no answer of one value per row: give package_model(predict = ",
      "function(model, newdata) ...) that returns the values you want"
    )
  )
}

#' Nodes that are in C++ at once: of a forest of up to 2^19 (about 16 MB, and as much again while a call copies them)
#' all, for each call has a fixed cost; of a larger one so many as stay in the processor's caches.
#' @noRd
ranger_part_size <- function(nodes) if (sum(nodes) <= 2^19) Inf else 2^17

ask_ranger <- function(model, rows, ...) {
  stats::predict(model, data = rows, num.threads = 1L, verbose = FALSE, ...)$predictions
}

#' The forest in parts of at most so many nodes, each with the answers of its trees; more rows than predictions are
#' merged to go through it at once.
#' @return A list of ranger objects whose trees are, one after the other, those of `model`.
#' @noRd
ranger_parts <- function(model, rows, size = ranger_part_size(nodes)) {
  nodes <- lengths(model$forest$split.values)
  if (rows > 4096L || sum(nodes) <= size) {
    return(list(model))
  }
  each <- nodes + rows * max(1L, length(model$forest$class.values))
  of_trees <- c("child.nodeIDs", "split.varIDs", "split.values", "terminal.class.counts")
  lapply(unname(split(seq_along(nodes), ceiling(cumsum(as.numeric(each)) / size))), function(trees) {
    for (name in intersect(of_trees, names(model$forest))) model$forest[[name]] <- model$forest[[name]][trees]
    model$forest$num.trees <- model$num.trees <- length(trees)
    model
  })
}

#' What predict() answers: the mean over the trees, a vector, or a matrix of probabilities with the levels as columns.
#' @noRd
ranger_mean <- function(model, rows, ...) {
  parts <- ranger_parts(model, nrow(rows), ...)
  if (length(parts) == 1L) {
    return(ask_ranger(model, rows))
  }
  total <- 0
  for (part in parts) {
    said <- ask_ranger(part, rows, predict.all = TRUE)
    by_tree <- matrix(said, ncol = part$num.trees)
    for (tree in seq_len(part$num.trees)) total <- total + by_tree[, tree]
  }
  if (length(dim(said)) == 3L) total <- array(total, dim(said)[1:2], dimnames(said)[1:2])
  total / model$num.trees
}

#' What each tree votes for, a row of the matrix for each row.
#' @noRd
ranger_votes <- function(model, rows, ...) {
  votes <- lapply(ranger_parts(model, nrow(rows), ...), function(part) {
    matrix(ask_ranger(part, rows, predict.all = TRUE), nrow = nrow(rows))
  })
  do.call(cbind, votes)
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
