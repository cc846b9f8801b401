//! The order of those who wait.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::Priority;

/// Who was first in its class and was passed over this often goes next.
const PATIENCE: u32 = 16;

/// Waiters by class: the highest class first, first come first served within it, and none for ever last.
#[derive(Debug)]
pub(super) struct Queue<T> {
    classes: [Class<T>; Priority::ALL.len()],
}

#[derive(Debug)]
struct Class<T> {
    waiting: VecDeque<oneshot::Sender<T>>,
    /// How often another class was served since this one's first came to be first.
    passed_over: u32,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { classes: Priority::ALL.map(|_| Class { waiting: VecDeque::new(), passed_over: 0 }) }
    }
}

impl<T> Queue<T> {
    pub(super) fn push(&mut self, priority: Priority, grant: oneshot::Sender<T>) {
        self.classes[priority as usize].waiting.push_back(grant);
    }

    /// Those who still wait.
    pub(super) fn len(&self) -> usize {
        let waiting = self.classes.iter().flat_map(|class| &class.waiting);
        waiting.filter(|grant| !grant.is_closed()).count()
    }

    /// Takes out who is next.
    pub(super) fn pop(&mut self) -> Option<(Priority, oneshot::Sender<T>)> {
        for class in &mut self.classes {
            while class.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                class.waiting.pop_front();
                class.passed_over = 0;
            }
        }
        let next = self.impatient().or_else(|| self.highest())?;
        for (priority, class) in Priority::ALL.into_iter().zip(&mut self.classes) {
            if priority == next || class.waiting.is_empty() {
                class.passed_over = 0;
            } else {
                class.passed_over += 1;
            }
        }
        Some((next, self.classes[next as usize].waiting.pop_front()?))
    }

    fn highest(&self) -> Option<Priority> {
        Priority::ALL.into_iter().find(|priority| !self.classes[*priority as usize].waiting.is_empty())
    }

    /// The class that was passed over most, if that was too often; the highest of equals.
    fn impatient(&self) -> Option<Priority> {
        let passed_over = |priority: &Priority| self.classes[*priority as usize].passed_over;
        let most = Priority::ALL.into_iter().rev().max_by_key(passed_over)?;
        (passed_over(&most) >= PATIENCE).then_some(most)
    }
}
