mod duration;
mod failure;
mod json;
mod located;
mod output;
mod task_file;
use failure::Failure;
