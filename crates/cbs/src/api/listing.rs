//! Lists that come in pages.

use std::collections::BTreeSet;
use std::future::Future;

use crate::action::Action;
use crate::error::Error;

/// Which part of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many items to pass over.
    pub offset: u64,
    /// How many items at most, from 1 to [`Page::MOST`].
    pub limit: u64,
}

impl Page {
    /// The most items that the cloud puts on a page.
    pub const MOST: u64 = 100;

    /// The longest page from an offset on.
    #[must_use]
    pub fn from(offset: u64) -> Self {
        Self { offset, limit: Self::MOST }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::from(0)
    }
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// How many items there are on all pages, by the cloud's count.
    pub total: u64,
    /// Those on this page.
    pub items: Vec<T>,
    /// The cloud's id of the request.
    pub request_id: Option<String>,
}

impl<T> Listing<T> {
    pub(super) fn empty() -> Self {
        Self { total: 0, items: Vec::new(), request_id: None }
    }
}

/// A listing that does not hold still is begun anew this often.
const TRIES: usize = 5;

/// Reads a listing to its end: each item once, and as many as the cloud counts. One that changes under way is begun
/// anew, for an item may have slipped from one page to another unseen.
///
/// # Errors
/// That of a page, or that the listing did not hold still.
pub(super) async fn read_all<T, F: Future<Output = Result<Listing<T>, Error>>>(
    action: Action,
    id: impl Fn(&T) -> &str,
    mut page: impl FnMut(Page) -> F,
) -> Result<Vec<T>, Error> {
    for _ in 0..TRIES {
        if let Some(items) = read_once(&id, &mut page).await? {
            return Ok(items);
        }
    }
    Err(Error::unusable(action, format!("the listing changed under way {TRIES} times")))
}

/// Each page begins with the last item of the one before: if it does not, something has moved.
async fn read_once<T, F: Future<Output = Result<Listing<T>, Error>>>(
    id: impl Fn(&T) -> &str,
    mut page: impl FnMut(Page) -> F,
) -> Result<Option<Vec<T>>, Error> {
    let Listing { total, mut items, .. } = page(Page::default()).await?;
    let mut seen: BTreeSet<String> = items.iter().map(|item| id(item).to_owned()).collect();
    // An item that comes twice ends it at once: a page that is given again and again would never.
    while seen.len() == items.len() && (items.len() as u64) < total {
        let Some(last) = items.last() else { return Ok(None) };
        let next = page(Page::from(items.len() as u64 - 1)).await?;
        let moved = next.total != total || next.items.first().map(&id) != Some(id(last));
        if moved || next.items.len() < 2 {
            return Ok(None);
        }
        seen.extend(next.items.iter().map(|item| id(item).to_owned()));
        items.extend(next.items.into_iter().skip(1));
    }
    let complete = seen.len() == items.len() && items.len() as u64 == total;
    Ok(complete.then_some(items))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Reads lists, each page from the list that is current when it is asked for.
    async fn read(mut lists: Vec<Vec<String>>) -> Result<Vec<String>, Error> {
        lists.reverse();
        let lists = RefCell::new(lists);
        read_all(Action::DescribeDisks, String::as_str, |page| {
            let mut lists = lists.borrow_mut();
            let list = lists.last().unwrap().clone();
            if lists.len() > 1 {
                lists.pop();
            }
            let items = list.iter().skip(page.offset as usize).take(page.limit as usize).cloned().collect();
            async move { Ok(Listing { total: list.len() as u64, items, request_id: None }) }
        })
        .await
    }

    fn numbers(numbers: impl Iterator<Item = u32>) -> Vec<String> {
        numbers.map(|number| number.to_string()).collect()
    }

    #[tokio::test]
    async fn all_pages_in_order() {
        for count in [0, 1, 99, 100, 101, 200, 350] {
            assert_eq!(read(vec![numbers(0..count)]).await.unwrap(), numbers(0..count));
        }
    }

    #[tokio::test]
    async fn a_listing_whose_count_changes_is_begun_anew() {
        let (before, after) = (numbers(0..250), numbers((0..250).filter(|number| *number != 3)));
        assert_eq!(read(vec![before, after.clone()]).await.unwrap(), after);
    }

    #[tokio::test]
    async fn a_count_that_changes_and_changes_back_is_noticed() {
        // One came at the front and one went before the page's end: the boundary alone would not tell.
        let before = numbers(0..250);
        let moved = || [999].into_iter().chain((0..250).filter(|number| *number != 3));
        let (during, after) = (numbers(moved().chain([1000])), numbers(moved()));
        assert_eq!(read(vec![before, during, after.clone()]).await.unwrap(), after);
    }

    #[tokio::test]
    async fn one_item_gone_and_one_come_does_not_hide_a_third() {
        // The count stays, and 100 slips to the first page after that was read; or the other way round.
        let (one, other) = (numbers(0..150), numbers((1..150).chain([999])));
        assert_eq!(read(vec![one.clone(), other.clone()]).await.unwrap(), other);
        let front = numbers([999].into_iter().chain(0..149));
        assert_eq!(read(vec![one, front.clone()]).await.unwrap(), front);
    }

    #[tokio::test]
    async fn an_item_that_comes_twice_is_not_counted_twice() {
        let twice = numbers((0..10).chain([3]));
        assert!(read(vec![twice]).await.is_err());
    }

    /// A server, or a proxy's cache, that gives one page to every question.
    #[tokio::test]
    async fn one_item_again_and_again_is_no_listing() {
        let mut pages = 0;
        let twice = || vec!["a".to_owned(), "a".to_owned()];
        let read = read_all(Action::DescribeDisks, String::as_str, |_| {
            pages += 1;
            std::future::ready(Ok(Listing { total: 1000, items: twice(), request_id: None }))
        });
        assert!(read.await.is_err());
        assert!(pages <= 2 * TRIES, "{pages} pages were asked for");
    }

    #[tokio::test]
    async fn a_listing_that_never_holds_still_is_an_error() {
        let lists = (0..40).map(|n| numbers(0..150 + n)).collect();
        let error = read(lists).await.unwrap_err();
        assert_eq!(error.to_string(), "DescribeDisks failed: the listing changed under way 5 times");
    }
}
