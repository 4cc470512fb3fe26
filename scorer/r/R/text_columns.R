# Text among a model's inputs. A class that turns text into codes by the levels of the rows it is given answers another
# number for other company, silently: such a class takes text only where it kept the levels it was fitted with.

#' Stop for text columns whose levels a class does not keep.
#' @noRd
refuse_text <- function(columns, class) {
  if (length(columns) > 0L) {
    abort(class, " was given text in ", quoted(columns), " and would read it by the levels of each request: fit the ",
      "model on factors, and give the sample with them"
    )
  }
}

#' Names of the text columns that the model uses.
#' @noRd
text_inputs <- function(model, sample) {
  text <- names(sample)[vapply(sample, is.character, NA)]
  told <- model_inputs(model)
  if (is.null(told)) text else intersect(text, told)
}

#' An answer of one column as a plain vector, of several as the matrix it is.
#' @noRd
vector_or_matrix <- function(answer) {
  if (length(dim(answer)) == 2L && ncol(answer) > 1L) answer else as.vector(answer)
}
