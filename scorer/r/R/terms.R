# What a model's terms tell: the columns it uses and the packages of the functions in its formula.

#' Names of the variables on the right-hand side, offsets included.
#' @noRd
terms_inputs <- function(terms) {
  all.vars(attr(stats::delete.response(terms), "variables"))
}
